"""What answers: one module an engine."""
