"""Gather, decide, act: runs the decisions about a Machine against its provider."""
