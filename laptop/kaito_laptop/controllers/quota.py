"""ResourceQuotas: the status says what holds, and what the pods of the namespace use of it."""

from __future__ import annotations

from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.objects import get, name, namespace, same
from kaito_laptop.store.admission import quotas


class QuotaController:
    """Counts again when a quota changes, and when a pod ends, goes, or is due to be gone."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop
        self._quotas: Resource = cluster.resource("v1", "ResourceQuota")
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._queue: Queue[Key] = Queue(event_loop, self._count)
        self._known: dict[str, set[Key]] = {}
        cluster.watch([self._quotas], self._quota_changed)
        cluster.watch([self._pods], self._pod_changed)

    def _quota_changed(self, event: Event) -> None:
        key = Key(self._quotas, name(event.object), namespace(event.object))
        of_namespace = self._known.setdefault(key.namespace, set())
        if event.type == "DELETED":
            of_namespace.discard(key)
        else:
            of_namespace.add(key)
            self._queue.add(key)

    def _pod_changed(self, event: Event) -> None:
        """A pod that came was counted as it was let in."""
        keys = sorted(self._known.get(namespace(event.object), ()), key=lambda key: key.name)
        if event.type != "ADDED":
            self._queue.add_all(keys)
        grace = get(event.object, "metadata", "deletionGracePeriodSeconds")
        if grace is not None and event.type == "MODIFIED":
            for key in keys:
                self._queue.add_after(key, grace + 1)

    def _count(self, key: Key) -> None:
        try:
            quota = self._cluster.get(key)
        except NotFound:
            return
        hard: Manifest = get(quota, "spec", "hard", default={})
        pods = self._cluster.list(self._pods, key.namespace)
        used = quotas.counted(hard, pods, self._event_loop.clock.now())
        status = {"hard": hard, "used": used}
        if not same(quota.get("status"), status):
            self._cluster.update_status({**quota, "status": status})
