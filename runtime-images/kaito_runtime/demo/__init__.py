"""A model small enough to be made on a laptop: its text, its tokenizer, its training, its lesson."""
