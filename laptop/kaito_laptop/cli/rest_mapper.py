"""The words by which people name kinds."""

from __future__ import annotations

from kaito_laptop.core.cluster import Resource
from kaito_laptop.core.objects import get
from kaito_laptop.store.memory import MemoryCluster

SHORT = {
    "Pod": "po",
    "Service": "svc",
    "Deployment": "deploy",
    "ConfigMap": "cm",
    "Node": "no",
    "Namespace": "ns",
    "ResourceQuota": "quota",
    "LimitRange": "limits",
    "Event": "ev",
}
"""Of the built-in kinds; those of ours stand in their definitions."""


def resource_for(cluster: MemoryCluster, word: str) -> Resource | None:
    """Find a kind by what kubectl takes: kind, plural, singular or short name, in any case."""
    for resource in cluster.resources():
        names = get(cluster.definition(resource), "spec", "names", default={})
        words = [resource.kind, resource.plural, *names.get("shortNames", [])]
        if word.lower() in [each.lower() for each in words] or word == SHORT.get(resource.kind):
            return resource
    return None
