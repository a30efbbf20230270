"""Function calls in what a model writes."""
