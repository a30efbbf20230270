"""What the hooks and the programs of their pods agree on; the standard library alone."""
