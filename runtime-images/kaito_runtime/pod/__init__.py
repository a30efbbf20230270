"""How a program stands in its pod: how it ends, where its files are, what it tells of itself."""
