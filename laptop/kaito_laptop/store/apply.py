"""`kubectl apply`: create an object, or merge what its author wrote into what is there."""

from __future__ import annotations

from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound
from kaito_laptop.core.objects import copy, name, namespace
from kaito_laptop.core.three_way_merge import updated, with_last_applied

KUBECTL_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(cluster: Cluster, manifest: Manifest) -> Manifest:
    """Return the object as it is afterwards."""
    resource = cluster.resource(manifest["apiVersion"], manifest["kind"])
    wanted: Manifest = copy(manifest)
    if resource.namespaced:
        wanted["metadata"].setdefault("namespace", "default")
    else:
        wanted["metadata"].pop("namespace", None)
    wanted.pop("status", None)
    try:
        live = cluster.get(Key(resource, name(wanted), namespace(wanted)))
    except NotFound:
        return cluster.create(with_last_applied(wanted, wanted, KUBECTL_LAST_APPLIED))
    return cluster.update(updated(live, wanted, KUBECTL_LAST_APPLIED))
