"""The Lease of each Node, renewed as a kubelet does (KEP-589): how a cluster sees that a node lives."""

from __future__ import annotations

from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import name
from kaito_laptop.core.retries import retry_on_conflict

NAMESPACE = "kube-node-lease"
DURATION_SECONDS, RENEW_SECONDS = 40, 10.0
"""The kubelet's nodeLeaseDurationSeconds, and the quarter of it after which it renews."""


class NodeLeases:
    """Keeps them while the event loop runs; for clusters on the real clock, where time passes by itself."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop
        self._leases = cluster.resource("coordination.k8s.io/v1", "Lease")
        self._nodes: dict[str, Manifest] = {}
        self._timer = event_loop.every(RENEW_SECONDS, self._renew)
        self._end = cluster.watch([cluster.resource("v1", "Node")], self._node_changed)

    def stop(self) -> None:
        """Renew no more: to the cluster the nodes die."""
        self._timer.cancel()
        self._end()

    def _node_changed(self, event: Event) -> None:
        which = name(event.object)
        if event.type == "DELETED":
            self._nodes.pop(which, None)
        elif which not in self._nodes:
            self._nodes[which] = event.object
            self._event_loop.post(lambda: self._write(event.object))

    def _renew(self) -> None:
        for node in list(self._nodes.values()):
            self._write(node)

    def _write(self, node: Manifest) -> None:
        retry_on_conflict(lambda: self._renewed(node))

    def _renewed(self, node: Manifest) -> None:
        if name(node) not in self._nodes:
            return
        spec = {
            "holderIdentity": name(node),
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": self._event_loop.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            live = self._cluster.get(Key(self._leases, name(node), NAMESPACE))
        except NotFound:
            self._cluster.create(_lease(node, spec))
        else:
            self._cluster.update({**live, "spec": spec})


def _lease(node: Manifest, spec: Manifest) -> Manifest:
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": name(node),
        "uid": node["metadata"]["uid"],
    }
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name(node), "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": spec,
    }
