"""Which objects are children of a parent: owned, adopted, released."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound, Resource
from kaito_laptop.core.objects import (
    controller_of,
    is_deleting,
    labels,
    matches,
    name,
    namespace,
    owner_reference,
    owners,
    uid,
)


class Claims:
    """Claims children for one parent by owner reference and selector."""

    def __init__(
        self, cluster: Cluster, parents: Resource, parent: Manifest, selector: Manifest
    ) -> None:
        self._cluster = cluster
        self._parents = parents
        self._parent = parent
        self._selector = selector

    def claim(self, resource: Resource) -> Sequence[Manifest]:
        """Return the children of one kind; a namespaced parent never sees a cluster-scoped one."""
        place = namespace(self._parent)
        claimed = []
        for candidate in self._cluster.list(resource, place or None):
            controller = controller_of(candidate)
            fits = matches(self._selector, labels(candidate))
            if controller is None:
                if fits and self._may_adopt(candidate):
                    claimed.append(self._adopt(candidate))
            elif controller["uid"] == uid(self._parent):
                if fits:
                    claimed.append(candidate)
                elif not is_deleting(self._parent):
                    self._release(candidate)
        return claimed

    def _may_adopt(self, candidate: Manifest) -> bool:
        if is_deleting(self._parent) or is_deleting(candidate):
            return False
        key = Key(self._parents, name(self._parent), namespace(self._parent))
        try:
            live = self._cluster.get(key)
        except NotFound:
            return False
        return uid(live) == uid(self._parent) and not is_deleting(live)

    def _adopt(self, candidate: Manifest) -> Manifest:
        candidate["metadata"]["ownerReferences"] = [
            *owners(candidate),
            owner_reference(self._parent),
        ]
        return self._cluster.update(candidate)

    def _release(self, candidate: Manifest) -> None:
        candidate["metadata"]["ownerReferences"] = [
            owner for owner in owners(candidate) if owner["uid"] != uid(self._parent)
        ]
        self._cluster.update(candidate)
