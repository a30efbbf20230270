"""What a Workspace goes through, step by step."""
