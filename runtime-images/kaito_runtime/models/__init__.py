"""The base model and its adapters, as they are loaded, and how text becomes tokens."""
