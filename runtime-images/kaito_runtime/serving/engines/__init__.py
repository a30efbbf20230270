"""What answers: the engines, and what they share."""
