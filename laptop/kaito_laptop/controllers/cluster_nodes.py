"""Nodes of the cluster: the computer itself, and those that the ARM stand-in brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import name
from kaito_laptop.core.retries import retry_on_conflict

LAPTOP = "laptop"


class ClusterNodes:
    """Adds and removes nodes; may be called from any thread."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop

    def add(self, node: Manifest) -> None:
        """Create the node with the status that it states, or bring it up to date."""
        self._event_loop.post(lambda: retry_on_conflict(lambda: self._add(node)))

    def remove(self, name: str) -> None:
        """Delete the node; nothing happens if it is gone."""
        self._event_loop.post(lambda: self._remove(name))

    def _add(self, node: Manifest) -> None:
        try:
            live = self._cluster.get(self._key(name(node)))
        except NotFound:
            live = self._cluster.create(node)
        else:
            metadata = {**live["metadata"], **node["metadata"]}
            live = self._cluster.update({**live, **node, "metadata": metadata})
        self._cluster.update_status({**live, "status": node.get("status", {})})

    def _remove(self, which: str) -> None:
        with suppress(NotFound):
            self._cluster.delete(self._key(which))

    def _key(self, which: str) -> Key:
        return Key(self._cluster.resource("v1", "Node"), which)


def ready_node(
    which: str,
    event_loop: EventLoop,
    *,
    resources: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Manifest] = (),
) -> Manifest:
    """Return a node that is ready, with so many allocatable resources."""
    usual = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "111Gi", "pods": "110"}
    found = {**usual, **(resources or {})}
    now = timestamp(event_loop.clock.now())
    common = {
        "kubernetes.io/hostname": which,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": which, "labels": {**common, **(labels or {})}},
        "spec": {"taints": list(taints)} if taints else {},
        "status": {
            "capacity": found,
            "allocatable": found,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "kubelet is posting ready status",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
        },
    }
