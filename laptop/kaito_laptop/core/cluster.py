"""What every part of the laptop cluster is written against: a small view of the Kubernetes API.

Two implementations: in memory (`kaito_laptop.store.memory`) and a real API server through the
official client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server knows it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Key:
    """Names one object."""

    resource: Resource
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One change, in the order in which the cluster made it.

    Receivers share it and must not change it.
    """

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Manifest
    old: Manifest | None = None


class ClusterError(Exception):
    """The API server refused a request."""

    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(ClusterError):
    """404."""

    status = 404


class AlreadyExists(ClusterError):
    """409 on create."""

    status = 409


class Conflict(ClusterError):
    """409: the resourceVersion is not the newest, or a uid precondition failed."""

    status = 409


class Invalid(ClusterError):
    """422: schema, CEL rule or immutable field; the message is what kubectl would print."""

    status = 422


class Forbidden(ClusterError):
    """403."""

    status = 403


Propagation = Literal["Background", "Foreground", "Orphan"]


class Cluster(Protocol):
    """The part of the Kubernetes API that controllers need.

    Objects that come out may be changed by the caller without effect on the store.
    """

    def resource(self, api_version: str, kind: str) -> Resource:
        """Find a kind by its name or by its plural; raise `NotFound` if it is not known."""
        ...

    def get(self, key: Key) -> Manifest:
        """Raise `NotFound`."""
        ...

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Manifest]:
        """All objects of a kind, of one namespace or of all, sorted by namespace and name."""
        ...

    def watch(
        self, resources: Sequence[Resource], receive: Callable[[Event], None]
    ) -> Callable[[], None]:
        """Report each change, first an ADDED for each object; calling the answer ends it.

        `receive` may only take note: it must not call the cluster.
        """
        ...

    def create(self, manifest: Manifest) -> Manifest:
        """Raise `AlreadyExists` or `Invalid`."""
        ...

    def update(self, manifest: Manifest) -> Manifest:
        """Replace all but status. Raise `NotFound`, `Conflict` or `Invalid`."""
        ...

    def update_status(self, manifest: Manifest) -> Manifest:
        """Replace status only. Raise `NotFound`, `Conflict` or `Invalid`."""
        ...

    def delete(
        self,
        key: Key,
        propagation: Propagation = "Background",
        uid: str | None = None,
        grace_period_seconds: int | None = None,
    ) -> None:
        """Raise `NotFound`, or `Conflict` when the uid is another one."""
        ...
