"""From rows of data to an adapter."""
