"""What both flows end with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.idle import Idle
from kaito_hooks.workspace.machines import Nodes


@dataclass(frozen=True, slots=True)
class Plan:
    """The children that should exist and how far each condition is."""

    nodes: Nodes
    children: Sequence[Manifest]
    conditions: Sequence[Condition]
    required: Sequence[str]
    """Types of the conditions that `Ready` needs, in the order in which they come true."""
    taken: Manifest | None = None
    """An object of somebody else that has the name of a child."""
    idle: Idle = field(default_factory=Idle)
    failed: bool = False
    """A person must change something before anything else is tried."""
    adapter: Adapter | None = None
    """The adapter that the status tells of."""
    retry: str = ""
    """The last value of `kaito.sh/retry` that a tuning has dealt with."""
