"""What `make bench-serving` measures against."""
