"""The transformers engine: iteration-level batching over a pool of slots in the key-value cache."""
