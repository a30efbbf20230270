"""What a decision is made of: what has been observed so far, and what to do next.

A decision that needs the provider names one action; its result joins the observation, and the decision
is made again. So every request of the hook is chosen by a pure function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.machine.api import Machine
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.last_status import MachineStatus, read_status
from kaito_hooks.machine.nodes import Node, nodes_of
from kaito_hooks.machine.provider import (
    NEUTRAL,
    Availability,
    Listing,
    Ours,
    Pool,
    PoolRequest,
    Profile,
    Unknown,
)
from kaito_hooks.metacontroller import SyncRequest


@dataclass(frozen=True, slots=True)
class Created:
    """The provider accepted a pool."""

    state: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The provider accepted a deletion; the pool may be there for minutes."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One Machine, and what the provider said in this call."""

    machine: Machine
    last: MachineStatus
    profile: Profile = NEUTRAL
    nodes: tuple[Node, ...] = ()
    is_leaving: bool = False
    """Whether the Machine is deleted, or not ours to look after any more."""
    pool: Pool | None = None
    """None until it is read."""
    is_fresh: bool = False
    """Whether the pool was read from the provider itself, in this call."""
    listing: Listing | Unknown | None = None
    availability: Availability | Unknown | None = None
    operation: str | Unknown | None = None
    """What the whole cluster is in the middle of; empty when it is at rest, None until it is read."""
    digest: str = ""
    """Of what would be asked for now."""
    outcome: Created | Deleted | ProviderError | None = None
    """Of the one request that changes something."""

    @property
    def own_pool(self) -> Ours:
        """The pool, where it is known to be the Machine's."""
        if not isinstance(self.pool, Ours):
            raise TypeError("the pool is not the Machine's")
        return self.pool


@dataclass(frozen=True, slots=True)
class ReadPool:
    """Ask for the pool."""

    fresh: bool


@dataclass(frozen=True, slots=True)
class ListPools:
    """Ask for all pools, now."""


@dataclass(frozen=True, slots=True)
class CheckAvailability:
    """Ask whether such a node could be made."""

    size: str
    is_spot: bool


@dataclass(frozen=True, slots=True)
class ReadOperation:
    """Ask whether the whole cluster is in the middle of something."""


@dataclass(frozen=True, slots=True)
class CreatePool:
    """Ask to create the pool."""

    request: PoolRequest


@dataclass(frozen=True, slots=True)
class DeletePool:
    """Ask to delete the pool as it was read."""

    etag: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What Metacontroller gets."""

    status: Manifest = field(repr=False)
    resync_seconds: float
    finalized: bool = False


Action = ReadPool | ListPools | CheckAvailability | ReadOperation | CreatePool | DeletePool
"""At most one request to the provider."""
Decision = Action | Answer
Rule = Callable[[Observed, datetime], Decision | None]
"""A row of docs/machine-states.md: what to do, or None when it does not apply."""


def observe(request: SyncRequest, profile: Profile = NEUTRAL) -> Observed:
    """What is known before the provider is asked."""
    machine = Machine(request.parent)
    return Observed(
        machine=machine,
        last=read_status(request.parent),
        profile=profile,
        nodes=nodes_of(machine.ref.uid, request.related.get("Node", ())),
        is_leaving=request.finalizing or machine.is_deleting,
    )
