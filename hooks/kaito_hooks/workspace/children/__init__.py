"""The children of a Workspace."""
