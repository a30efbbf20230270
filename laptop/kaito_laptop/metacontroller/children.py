"""Making the children in the cluster those that the hook asked for (manage_children.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random

from kaito_laptop.core.cluster import (
    AlreadyExists,
    Cluster,
    ClusterError,
    Conflict,
    Key,
    Manifest,
    NotFound,
)
from kaito_laptop.core.objects import (
    is_deleting,
    name,
    namespace,
    owner_reference,
    owners,
    same,
    uid,
)
from kaito_laptop.core.three_way_merge import updated, with_last_applied

Kind = tuple[str, str]
"""apiVersion and kind."""
Place = tuple[str, str]
"""namespace and name."""


def by_kind(objects: Sequence[Manifest]) -> dict[Kind, dict[Place, Manifest]]:
    """Sort objects into groups; of two with the same name the last one counts."""
    groups: dict[Kind, dict[Place, Manifest]] = {}
    for each in objects:
        kind = (str(each.get("apiVersion", "")), each["kind"])
        groups.setdefault(kind, {})[namespace(each), name(each)] = each
    return groups


class Children:
    """Creates, updates and deletes the children of one parent and collects what was refused."""

    def __init__(
        self, cluster: Cluster, parent: Manifest, strategies: Mapping[Kind, str], order: Random
    ) -> None:
        self._cluster = cluster
        self._parent = parent
        self._strategies = strategies
        self._random = order
        self._errors: list[str] = []

    def manage(
        self,
        observed: Mapping[Kind, Mapping[Place, Manifest]],
        desired: Mapping[Kind, Mapping[Place, Manifest]],
    ) -> Sequence[str]:
        """Delete what is not desired, then create and update; return the errors."""
        for kind in sorted(observed):
            for place, child in self._shuffled(observed[kind]):
                if place not in desired.get(kind, {}) and not is_deleting(child):
                    self._try(child, self._delete)
        for kind in sorted(desired):
            for place, child in self._shuffled(desired[kind]):
                known = observed.get(kind, {}).get(place)
                if known is None:
                    self._try(child, self._create)
                elif not is_deleting(known):
                    self._update(kind, known, child)
        return self._errors

    def _shuffled(self, group: Mapping[Place, Manifest]) -> Sequence[tuple[Place, Manifest]]:
        """Order within a kind is that of a Go map: none."""
        items = sorted(group.items(), key=lambda item: item[0])
        self._random.shuffle(items)
        return items

    def _try(self, child: Manifest, act: Callable[[Manifest], None]) -> None:
        try:
            act(child)
        except ClusterError as error:
            self._errors.append(f"{child['kind']} {name(child)}: {error.message}")

    def _delete(self, child: Manifest) -> None:
        resource = self._cluster.resource(child["apiVersion"], child["kind"])
        with suppress(NotFound):
            self._cluster.delete(Key(resource, name(child), namespace(child)), uid=uid(child))

    def _create(self, child: Manifest) -> None:
        new = with_last_applied(child, child)
        new["metadata"]["ownerReferences"] = [*owners(child), owner_reference(self._parent)]
        # Somebody else's object of that name is passed over in silence.
        with suppress(AlreadyExists):
            self._cluster.create(new)

    def _update(self, kind: Kind, observed: Manifest, desired: Manifest) -> None:
        if self._strategies.get(kind, "OnDelete") != "InPlace":
            return
        new = updated(observed, desired)
        if not same(new, observed):
            self._try(new, self._put)

    def _put(self, new: Manifest) -> None:
        # The next event brings a newer state.
        with suppress(Conflict, NotFound):
            self._cluster.update(new)
