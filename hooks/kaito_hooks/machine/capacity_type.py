"""Spot or not: what the Machine allows, and which of the two the next try asks for."""

from __future__ import annotations

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Observed

SPOT, REGULAR = "Spot", "Regular"
_SCARCE = frozenset(
    {
        reasons.QUOTA_EXCEEDED,
        reasons.INSUFFICIENT_CAPACITY,
        reasons.SKU_NOT_AVAILABLE,
        reasons.SPOT_REFUSED,
    }
)
"""Reasons why a spot node can't be had that say nothing of a regular one."""


def next_priority(observed: Observed) -> str:
    """Spot first where it is allowed; a regular node at once when spot has just been refused."""
    allowed = observed.machine.capacity_types
    if "spot" not in allowed:
        return REGULAR
    return REGULAR if "on-demand" in allowed and _was_refused(observed) else SPOT


def falls_back(observed: Observed) -> bool:
    """Whether the wait after a refusal does not hold: the next try asks for something else."""
    both = {"spot", "on-demand"} <= observed.machine.capacity_types
    return both and _was_refused(observed)


def _was_refused(observed: Observed) -> bool:
    failure = observed.hints.failure
    was_spot = observed.hints.attempt.priority == SPOT
    return was_spot and failure is not None and failure.reason in _SCARCE
