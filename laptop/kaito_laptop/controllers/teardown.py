"""Deleting a Namespace or a CustomResourceDefinition: first what is in it, then the thing itself."""

from __future__ import annotations

from kaito_laptop.core.cluster import Event, Key, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.objects import finalizers, is_deleting, name, namespace
from kaito_laptop.store import kinds
from kaito_laptop.store.memory import CRD_CLEANUP, MemoryCluster


class TeardownController:
    """Empties what is being deleted and lets it go once it is empty."""

    def __init__(self, cluster: MemoryCluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._namespaces = cluster.resource("v1", "Namespace")
        self._definitions = cluster.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        self._ending: set[Key] = set()
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        cluster.watch(None, self._changed)

    def _changed(self, event: Event) -> None:
        kind = event.object["kind"]
        if kind in ("Namespace", "CustomResourceDefinition") and is_deleting(event.object):
            resource = self._namespaces if kind == "Namespace" else self._definitions
            self._ending.add(Key(resource, name(event.object)))
        self._queue.add_all(sorted(self._ending, key=lambda key: key.name))

    def _look_at(self, key: Key) -> None:
        try:
            manifest = self._cluster.get(key)
        except NotFound:
            self._ending.discard(key)
            return
        if not is_deleting(manifest):
            return
        if key.resource == self._namespaces:
            left = [self._empty(each, key.name) for each in self._cluster.resources()]
            if not any(left):
                manifest["spec"]["finalizers"] = []
                self._cluster.update(manifest)
        elif not self._empty(kinds.custom(manifest).resource, None):
            kept = [each for each in finalizers(manifest) if each != CRD_CLEANUP]
            manifest["metadata"]["finalizers"] = kept
            self._cluster.update(manifest)

    def _empty(self, resource: Resource, place: str | None) -> bool:
        """Delete all objects of a kind; True while some are still there."""
        if place is not None and not resource.namespaced:
            return False
        for each in self._cluster.list(resource, place):
            if not is_deleting(each):
                self._cluster.delete(Key(resource, name(each), namespace(each)))
        return bool(self._cluster.list(resource, place))
