"""The decisions of the Machine hook: pure, so that every fault of the cloud is a row in a table.

`sync.decide` and `finalize.decide` say what to ask the provider next, or what to answer.
"""
