"""The HTTP front of the model server."""
