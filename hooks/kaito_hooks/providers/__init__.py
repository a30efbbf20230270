"""What makes nodes. Each provider keeps its settings, its states and its sentences to itself."""
