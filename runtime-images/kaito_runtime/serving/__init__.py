"""The model server: HTTP, the schema of its requests, and the engines that answer them."""
