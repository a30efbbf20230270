"""The `kaito` command and what it starts."""
