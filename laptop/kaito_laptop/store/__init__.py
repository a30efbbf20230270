"""The API server in memory: kinds, defaults, validation, admission, watches."""
