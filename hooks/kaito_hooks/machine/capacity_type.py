"""Spot or not: what the Machine allows, and which of the two the next try asks for."""

from __future__ import annotations

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Observed

SPOT, REGULAR = "Spot", "Regular"
"""As `status.attempt.priority` has them."""


def is_spot_next(observed: Observed) -> bool:
    """Spot first where it is allowed; a regular node at once when spot has just been refused."""
    allowed = observed.machine.capacity_types
    return "spot" in allowed and not ("on-demand" in allowed and _was_refused(observed))


def falls_back(observed: Observed) -> bool:
    """Whether the wait after a refusal does not hold: the next try asks for something else."""
    both = {"spot", "on-demand"} <= observed.machine.capacity_types
    return both and _was_refused(observed)


def _was_refused(observed: Observed) -> bool:
    failure = observed.last.failure
    was_spot = observed.last.attempt.priority == SPOT
    return was_spot and failure is not None and failure.reason in reasons.OF_SPOT_ALONE
