"""The vocabulary of the Kubernetes API; knows nothing of kaito.sh."""
