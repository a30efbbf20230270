"""The garbage collector: what has no owner left goes, in the way the owner was deleted."""

from __future__ import annotations

from collections import defaultdict

from kaito_laptop.core.cluster import Event, Key, Manifest, NotFound
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.objects import finalizers, is_deleting, name, namespace, owners, uid
from kaito_laptop.store.deletion import FOREGROUND, ORPHAN
from kaito_laptop.store.memory import MemoryCluster


class GarbageCollector:
    """Follows owner references over all kinds."""

    def __init__(self, cluster: MemoryCluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._dependents: defaultdict[str, dict[str, Key]] = defaultdict(dict)
        self._uids: dict[Key, str] = {}
        # The real collector comes after everybody else; recorded traces show it.
        self._queue: Queue[Key] = Queue(event_loop, self._look_at, slow=True)
        cluster.watch(None, self._changed)

    def _changed(self, event: Event) -> None:
        manifest = event.object
        resource = self._cluster.resource(manifest["apiVersion"], manifest["kind"])
        key = Key(resource, name(manifest), namespace(manifest))
        for owner in owners(event.old) if event.old else ():
            self._dependents[owner["uid"]].pop(uid(manifest), None)
        if event.type == "DELETED":
            # Those that waited for it, and those that it leaves behind.
            self._queue.add_all(self._dependents.pop(uid(manifest), {}).values())
            for owner in owners(manifest):
                self._look_at_owner(owner, manifest)
            return
        for owner in owners(manifest):
            self._dependents[owner["uid"]][uid(manifest)] = key
            self._look_at_owner(owner, manifest)
        if owners(manifest) or is_deleting(manifest):
            self._queue.add(key)

    def _look_at_owner(self, owner: Manifest, dependent: Manifest) -> None:
        key = self._key_of_owner(owner, dependent)
        if key is not None:
            self._queue.add(key)

    def _key_of_owner(self, owner: Manifest, dependent: Manifest) -> Key | None:
        """Owners are in the same namespace, or have none."""
        try:
            resource = self._cluster.resource(owner["apiVersion"], owner["kind"])
        except NotFound:
            return None
        if resource.namespaced and not namespace(dependent):
            return None
        return Key(resource, owner["name"], namespace(dependent) if resource.namespaced else "")

    def _look_at(self, key: Key) -> None:
        try:
            manifest = self._cluster.get(key)
        except NotFound:
            return
        if is_deleting(manifest):
            self._finish(manifest)
        elif owners(manifest):
            self._collect(key, manifest)

    def _finish(self, manifest: Manifest) -> None:
        """Do what the finalizers of foreground deletion and orphaning stand for."""
        dependents = list(self._dependents.get(uid(manifest), {}).values())
        if ORPHAN in finalizers(manifest):
            for dependent in dependents:
                self._let_go(dependent, uid(manifest))
            self._drop_finalizer(manifest, ORPHAN)
        elif FOREGROUND in finalizers(manifest):
            blocking = False
            for dependent in dependents:
                blocking |= self._delete_dependent(dependent, uid(manifest))
            if not blocking:
                self._drop_finalizer(manifest, FOREGROUND)

    def _delete_dependent(self, key: Key, owner: str) -> bool:
        """Delete it the same way if it has dependents; True while it blocks its owner."""
        try:
            dependent = self._cluster.get(key)
        except NotFound:
            return False
        blocks = any(o["uid"] == owner and o.get("blockOwnerDeletion") for o in owners(dependent))
        if not is_deleting(dependent):
            deep = bool(self._dependents.get(uid(dependent)))
            self._cluster.delete(key, "Foreground" if deep else "Background", uid=uid(dependent))
        return blocks and self._exists(key)

    def _exists(self, key: Key) -> bool:
        try:
            self._cluster.get(key)
        except NotFound:
            return False
        return True

    def _collect(self, key: Key, manifest: Manifest) -> None:
        """Delete an object when every owner that it names is gone."""
        for owner in owners(manifest):
            owner_key = self._key_of_owner(owner, manifest)
            if owner_key is None:
                # Nobody can tell whether it is there: a cluster-scoped object outlives a namespaced
                # owner (the real collector reports OwnerRefInvalidNamespace).
                return
            try:
                found = self._cluster.get(owner_key)
            except NotFound:
                continue
            if uid(found) == owner["uid"]:
                return
        self._cluster.delete(key, uid=uid(manifest))

    def _let_go(self, key: Key, owner: str) -> None:
        try:
            dependent = self._cluster.get(key)
        except NotFound:
            return
        kept = [each for each in owners(dependent) if each["uid"] != owner]
        dependent["metadata"]["ownerReferences"] = kept
        self._cluster.update(dependent)

    def _drop_finalizer(self, manifest: Manifest, finalizer: str) -> None:
        kept = [each for each in finalizers(manifest) if each != finalizer]
        manifest["metadata"]["finalizers"] = kept
        self._cluster.update(manifest)
