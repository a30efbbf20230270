"""The cluster in memory: one dictionary with the semantics of the Kubernetes API server."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kaito_laptop.core.clock import Clock, timestamp
from kaito_laptop.core.cluster import (
    AlreadyExists,
    Conflict,
    Event,
    Forbidden,
    Invalid,
    Key,
    Manifest,
    NotFound,
    Propagation,
    Resource,
)
from kaito_laptop.core.objects import copy, finalizers, is_among, is_deleting, name, namespace, same
from kaito_laptop.store import kinds
from kaito_laptop.store.addresses import Addresses
from kaito_laptop.store.admission.pods import let_in
from kaito_laptop.store.deletion import is_finalized, mark_deleted
from kaito_laptop.store.kinds import Kind
from kaito_laptop.store.watchers import Watchers

SERVER_OWNED = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
)
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class MemoryCluster:
    """Keeps objects; whoever watches is told of each change before the call that made it returns.

    Stored objects are replaced, never changed, so events can share them.
    """

    def __init__(self, clock: Clock, seed: int = 0) -> None:
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311  for repeatable names
        self._version = 0
        self._addresses = Addresses()
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._objects: dict[Resource, dict[tuple[str, str], Manifest]] = {}
        self._watchers = Watchers()
        for kind in kinds.BUILTIN:
            self._learn(kind)
        for each in ("default", "kube-system", "kube-node-lease"):
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}})

    def resource(self, api_version: str, kind: str) -> Resource:
        """Find a kind by its name or by its plural, or raise `NotFound`."""
        for known in self._kinds.values():
            if (known.resource.api_version, known.resource.plural) == (api_version, kind):
                return known.resource
        return self._kind(api_version, kind).resource

    def resources(self) -> Sequence[Resource]:
        """Return every kind that the cluster knows now."""
        return [kind.resource for kind in self._kinds.values()]

    def definition(self, resource: Resource) -> Manifest | None:
        """Return the CustomResourceDefinition behind a kind; None for a built-in one."""
        return self._kind(resource.api_version, resource.kind).definition

    def get(self, key: Key) -> Manifest:
        """Return a copy of the object."""
        return copy(self._stored(key))

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Manifest]:
        """Return copies, sorted by namespace and name."""
        return [
            copy(manifest)
            for _, manifest in sorted(self._objects.get(resource, {}).items())
            if is_among(manifest, namespace, labels)
        ]

    def watch(
        self, resources: Sequence[Resource] | None, receive: Callable[[Event], None]
    ) -> Callable[[], None]:
        """Report each change of these kinds; None means all, also those that are still to come."""
        end = self._watchers.add(resources, receive)
        for resource in list(self._objects) if resources is None else resources:
            for _, manifest in sorted(self._objects.get(resource, {}).items()):
                receive(Event("ADDED", manifest))
        return end

    def create(self, manifest: Manifest) -> Manifest:
        """Store a new object; a namespaced one without namespace goes to `default`."""
        kind = self._kind_of(manifest)
        new: Manifest = copy(manifest)
        metadata = new.setdefault("metadata", {})
        for field in SERVER_OWNED:
            metadata.pop(field, None)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(
                self._random.choices(_NAME_ALPHABET, k=5)
            )
        self._place(kind.resource, metadata)
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        metadata["creationTimestamp"] = timestamp(self._clock.now())
        if kind.has_generation:
            metadata["generation"] = 1
        if kind.has_status:
            new.pop("status", None)
        if kind.resource.kind == "CustomResourceDefinition":
            metadata["finalizers"] = [CRD_CLEANUP]
        if kind.resource.kind == "Service":
            self._addresses.allocate(new, None)
        key = self._key(kind.resource, new)
        if (key.namespace, key.name) in self._objects[kind.resource]:
            raise AlreadyExists(f"{self._says(key)} already exists")
        self._refuse_in_ending_namespace(key)
        admitted = kind.admit(new, None)
        if kind.resource.kind == "Pod":
            admitted = self._let_in(kind, admitted)
        return self._write(kind, key, admitted, None)

    def update(self, manifest: Manifest) -> Manifest:
        """Replace all but what the server owns and, where it is a subresource, the status."""
        kind = self._kind_of(manifest)
        key, old = self._current(kind, manifest)
        new: Manifest = copy(manifest)
        metadata = new["metadata"]
        self._place(kind.resource, metadata)
        for field in SERVER_OWNED:
            metadata.pop(field, None)
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        if kind.has_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = copy(old["status"])
        added = set(finalizers(new)) - set(finalizers(old))
        if is_deleting(old) and added:
            raise Forbidden(
                f"{self._says(key)} is forbidden: no new finalizers can be added if the object is "
                f"being deleted, found new finalizers {sorted(added)}"
            )
        if kind.resource.kind == "Service":
            self._addresses.allocate(new, old)
        new = kind.admit(new, old)
        if same(new, old):
            return copy(old)
        if kind.has_generation and not same(_content(new), _content(old)):
            metadata = new["metadata"]
            metadata["generation"] = old["metadata"]["generation"] + 1
        if is_deleting(new) and is_finalized(new):
            return self._remove(kind, key, new)
        return self._write(kind, key, new, old)

    def update_status(self, manifest: Manifest) -> Manifest:
        """Replace the status and nothing else."""
        kind = self._kind_of(manifest)
        key, old = self._current(kind, manifest)
        new = copy(old)
        new.pop("status", None)
        if manifest.get("status") is not None:
            new["status"] = copy(manifest["status"])
        new = kind.admit(new, old)
        return copy(old) if same(new, old) else self._write(kind, key, new, old)

    def delete(
        self,
        key: Key,
        propagation: Propagation = "Background",
        uid: str | None = None,
        grace_period_seconds: int | None = None,
    ) -> None:
        """Remove the object, or mark it where finalizers or a running pod are in the way."""
        kind = self._kind(key.resource.api_version, key.resource.kind)
        old = self._stored(key)
        found = old["metadata"]["uid"]
        if uid is not None and uid != found:
            raise Conflict(
                f"Operation cannot be fulfilled on {self._says(key)}: Precondition failed: UID in "
                f"precondition: {uid}, UID in object meta: {found}"
            )
        new = mark_deleted(
            old, propagation, grace_period_seconds, self._clock.now(), kind.has_generation
        )
        if is_finalized(new):
            self._remove(kind, key, new)
        elif not same(new, old):
            self._write(kind, key, new, old)

    def _learn(self, kind: Kind) -> None:
        self._kinds[kind.resource.api_version, kind.resource.kind] = kind
        self._objects.setdefault(kind.resource, {})

    def _kind(self, api_version: str, kind: str) -> Kind:
        try:
            return self._kinds[api_version, kind]
        except KeyError:
            raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"') from None

    def _kind_of(self, manifest: Manifest) -> Kind:
        return self._kind(str(manifest.get("apiVersion")), str(manifest.get("kind")))

    def _place(self, resource: Resource, metadata: dict[str, Any]) -> None:
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        place = metadata.setdefault("namespace", "default")
        home = self._objects[self.resource("v1", "Namespace")].get(("", place))
        if home is None:
            raise NotFound(f'namespaces "{place}" not found')

    def _key(self, resource: Resource, manifest: Manifest) -> Key:
        return Key(resource, name(manifest), namespace(manifest) if resource.namespaced else "")

    def _stored(self, key: Key) -> Manifest:
        try:
            return self._objects[key.resource][key.namespace, key.name]
        except KeyError:
            raise NotFound(f"{self._says(key)} not found") from None

    def _current(self, kind: Kind, manifest: Manifest) -> tuple[Key, Manifest]:
        """Return the stored object; refuse a caller who has seen an older or another one."""
        key = self._key(kind.resource, manifest)
        if kind.resource.namespaced and not key.namespace:
            key = Key(key.resource, key.name, "default")
        old = self._stored(key)
        if kind.definition is not None and not manifest["metadata"].get("resourceVersion"):
            missing = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise Invalid(f'The {kind.resource.plural} "{key.name}" is invalid: {missing}')
        for field in ("uid", "resourceVersion"):
            seen = manifest["metadata"].get(field)
            if seen and seen != old["metadata"][field]:
                raise Conflict(
                    f"Operation cannot be fulfilled on {self._says(key)}: the object has been "
                    "modified; please apply your changes to the latest version and try again"
                )
        return key, old

    def _write(self, kind: Kind, key: Key, new: Manifest, old: Manifest | None) -> Manifest:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        if kind.resource.kind == "CustomResourceDefinition":
            new["status"] = kinds.established(new)
            self._learn(kinds.custom(new))
        self._objects[key.resource][key.namespace, key.name] = new
        self._watchers.tell(key.resource, Event("ADDED" if old is None else "MODIFIED", new, old))
        return copy(new)

    def _let_in(self, kind: Kind, pod: Manifest) -> Manifest:
        """Admission beyond the pod's own fields; a quota counts it before it is stored."""
        place, quota = namespace(pod), self._kind("v1", "ResourceQuota")
        ranges = self.list(self.resource("v1", "LimitRange"), place)
        quotas = self.list(quota.resource, place)
        pod, charged = let_in(
            pod, ranges, quotas, lambda pod: kind.admit(pod, None), self._clock.now()
        )
        for each in charged:
            key = self._key(quota.resource, each)
            self._write(quota, key, each, self._stored(key))
        return pod

    def _refuse_in_ending_namespace(self, key: Key) -> None:
        home = self._objects[self.resource("v1", "Namespace")].get(("", key.namespace))
        if home is not None and is_deleting(home):
            raise Forbidden(
                f"{self._says(key)} is forbidden: unable to create new content in namespace "
                f"{key.namespace} because it is being terminated"
            )

    def _remove(self, kind: Kind, key: Key, last: Manifest) -> Manifest:
        self._version += 1
        last["metadata"]["resourceVersion"] = str(self._version)
        old = self._objects[key.resource].pop((key.namespace, key.name))
        if kind.resource.kind == "CustomResourceDefinition":
            gone = kinds.custom(last).resource
            self._kinds.pop((gone.api_version, gone.kind), None)
        self._watchers.tell(key.resource, Event("DELETED", last, old))
        return copy(last)

    def _says(self, key: Key) -> str:
        group = key.resource.group
        return f'{key.resource.plural}{"." + group if group else ""} "{key.name}"'


def _content(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}
