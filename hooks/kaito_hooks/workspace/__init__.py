"""What a Workspace asks for and what was observed, to the children that should exist and a status. Pure.

api: the typed Workspace · customize: what we want to see · observed: what we saw · fit: model against size ·
machines: nodes · check, tuning, inference: the three workloads · status: conditions · sync, finalize: the two
answers.
"""
