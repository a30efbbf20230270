"""What happens to pods whose node is gone (the pod garbage collector of Kubernetes)."""

from __future__ import annotations

from kaito_laptop.controllers.owned import FINISHED, conditions_with
from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Cluster, Event, Key, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.objects import get, name, namespace, uid


class NodeLifecycle:
    """Fails and deletes pods of nodes that do not exist; their Jobs see a disruption, no failure."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop
        self._nodes: Resource = cluster.resource("v1", "Node")
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        cluster.watch([self._nodes], self._node_changed)

    def _node_changed(self, event: Event) -> None:
        if event.type == "DELETED":
            self._queue.add(Key(self._nodes, name(event.object)))

    def _look_at(self, key: Key) -> None:
        try:
            self._cluster.get(key)
        except NotFound:
            pass
        else:
            return
        now = timestamp(self._event_loop.clock.now())
        for pod in self._cluster.list(self._pods):
            if get(pod, "spec", "nodeName") != key.name:
                continue
            if get(pod, "status", "phase") not in FINISHED:
                disruption = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists",
                }
                status = pod["status"]
                found = conditions_with(status.get("conditions", []), disruption, now)
                pod["status"] = {**status, "phase": "Failed", "conditions": found}
                self._cluster.update_status(pod)
            self._cluster.delete(
                Key(self._pods, name(pod), namespace(pod)), uid=uid(pod), grace_period_seconds=0
            )
