"""The built-in controllers that Workspaces lean on, for the cluster in memory."""
