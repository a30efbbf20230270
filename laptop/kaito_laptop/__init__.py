"""A cluster on a laptop: no Kubernetes, no GPU, no Azure. For learning and testing."""
