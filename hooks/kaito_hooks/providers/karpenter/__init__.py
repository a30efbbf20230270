"""Nodes that Karpenter makes: one NodeClaim (karpenter.sh/v1) for each Machine, through the Kubernetes API."""
