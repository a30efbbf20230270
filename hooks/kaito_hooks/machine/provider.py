"""What the Machine hook needs of a cloud: a few calls, and answers that can't be misread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine.errors import ProviderError

FAILED_STATES = ("Failed", "Canceled")


@dataclass(frozen=True, slots=True)
class PoolRef:
    """Names one pool and its owner."""

    name: str
    uid: str
    """Of the Machine: a pool without it is Foreign, whatever its name."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint of a Node."""

    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """A pool of one node."""

    ref: PoolRef
    machine: str
    """Namespace and name, for people who look at the pool."""
    size: str
    disk_gib: int | None
    labels: Mapping[str, str]
    taints: Sequence[Taint]
    created: datetime
    is_spot: bool = False
    """Whether the node may be taken away at any time, for a lower price."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The provider knows of no such pool; one such answer is no proof."""

    why: ProviderError | None = None
    """What made the provider itself give up a pool that it had accepted."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A pool of that name is not the Machine's."""


@dataclass(frozen=True, slots=True)
class Ours:
    """The Machine's pool."""

    state: str
    """In the provider's words: Creating, Succeeded, Failed, Canceled, Deleting, or any other."""
    etag: str = ""
    error: ProviderError | None = None
    """Why it failed."""
    created: datetime | None = None
    """When it was asked for, as the pool itself says."""
    stopped: bool = False
    conditions: Sequence[Condition] = ()
    """The Machine's three conditions, where the provider itself watches the node; else the Nodes tell."""

    @property
    def operation(self) -> str:
        """What the provider does with it for reasons of its own, such as Upgrading; empty for nothing."""
        is_ours = self.is_complete or self.is_failed or self.is_deleting or self.state == "Creating"
        return "" if is_ours else self.state

    @property
    def is_failed(self) -> bool:
        """Whether its last operation ended badly; a virtual machine may exist and be paid for."""
        return self.state in FAILED_STATES

    @property
    def is_deleting(self) -> bool:
        """Whether a second deletion would be one too many."""
        return self.state == "Deleting"

    @property
    def is_complete(self) -> bool:
        """Whether its last operation ended well."""
        return self.state == "Succeeded"


@dataclass(frozen=True, slots=True)
class Unknown:
    """No usable answer."""

    error: ProviderError


Pool = Absent | Foreign | Ours | Unknown


@dataclass(frozen=True, slots=True)
class ListedPool:
    """One pool of the cluster, whoever owns it."""

    name: str
    seen: Ours
    """What it would be to its owner."""
    uids: Sequence[str] = ()
    """Of the Machine that it was made for, as its tag and its label say; empty for others."""
    install: str = ""
    """Which installation of the hook made it."""
    is_system: bool = False
    """Whether the programs of the cluster itself run there: a living cluster has such a pool."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All pools of the cluster, read completely."""

    pools: Sequence[ListedPool]
    is_proven: bool = False
    """Whether the answer itself shows that the right server gave it, and all of it."""
    is_of_nobody: bool = False
    """Whether nothing is ever made here: it says nothing of what another provider made."""

    def find(self, name: str) -> ListedPool | None:
        """The pool of that name, whoever owns it."""
        return next((pool for pool in self.pools if pool.name.lower() == name.lower()), None)

    @property
    def is_trusted(self) -> bool:
        """Whether it can be the list of a living cluster."""
        return self.is_proven or any(pool.is_system for pool in self.pools)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a node could be made, as far as that can be looked up without asking for one. It is advice."""

    error: ProviderError | None = None
    """Why not."""
    is_complete: bool = True
    """Whether there is nothing more to look up; what is left is looked up by the next call of the hook."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How messages speak of a provider, and its own errors for what the decisions find out themselves."""

    name: str = "the provider"
    pool: str = "pool"
    """What it calls that which stands for a node."""
    errors: Mapping[type[ProviderError], type[ProviderError]] = field(default_factory=dict)
    """Its own kinds, with its remedies, by the kinds of machine/errors.py."""

    def error(self, kind: type[ProviderError], code: str = "", detail: str = "") -> ProviderError:
        """An error of that kind, with the provider's remedy where it has one."""
        return self.errors.get(kind, kind)(code, detail)


NEUTRAL = Profile()
"""Of a provider that says nothing of itself."""


class Provider(Protocol):
    """A cloud; each call is over within seconds, and no request of it is repeated."""

    @property
    def profile(self) -> Profile:
        """Say how messages speak of it; the same at each time."""
        ...

    def get(self, ref: PoolRef, fresh: bool) -> Pool:
        """Say what is known of the pool; not fresh may be some seconds old and lack the etag."""
        ...

    def list(self) -> Listing | Unknown:
        """Read all pools now."""
        ...

    def operation(self) -> str | Unknown:
        """Say what the whole cluster is in the middle of, in the provider's word; empty when it is at rest."""
        ...

    def availability(self, size: str, is_spot: bool) -> Availability | Unknown:
        """Say whether such a node could be made, with at most one request.

        `Unknown` keeps nothing from happening: then the provider itself judges the request.
        """
        ...

    def digest(self, request: PoolRequest) -> str:
        """Name what `create` would send for it, moment and priority aside; changes with the settings."""
        ...

    def create(self, request: PoolRequest) -> str:
        """Ask for a pool that must not exist yet, and return its state; raise `ProviderError`."""
        ...

    def delete(self, ref: PoolRef, etag: str) -> None:
        """Ask to delete the pool if its etag is still that one; an empty one does not matter.

        Raise `ProviderError`. Returning means that the request was accepted, not that the pool is
        gone.
        """
        ...

    def unavailable_reason(self) -> str:
        """What keeps the provider from being used at all, in a few words; empty for nothing."""
        ...
