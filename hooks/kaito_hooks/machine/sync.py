"""What to do about a Machine that should exist: the transition table, in the order of its rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine import (
    deletion_proof,
    indeterminate,
    launch,
    liveness,
    reasons,
    registration,
)
from kaito_hooks.machine.actions import Observed, ReadPool, Row, Step
from kaito_hooks.machine.conditions import not_launched, ready
from kaito_hooks.machine.provider import FAILED_STATES, Absent, Foreign, Ours, Unknown
from kaito_hooks.machine.status import answer

POLL_SECONDS = 15
SETTLED_SECONDS = 300
HOPELESS_SECONDS = 600
SLOW = timedelta(minutes=30)
"""Pools of one node take 3 to 10 minutes."""


def decide(observed: Observed, now: datetime) -> Step:
    """The first row that applies."""
    for row in ROWS:
        step = row(observed, now)
        if step is not None:
            return step
    return settled(observed, now)


def invalid(observed: Observed, now: datetime) -> Step | None:
    """Row 1: what can't be is said, and nothing is asked."""
    error = observed.machine.flaw
    if error is None:
        return None
    says = not_launched(error.reason, error.message)
    return answer(observed, now, HOPELESS_SECONDS, says, attempt=observed.hints.attempt)


def leaving(observed: Observed, now: datetime) -> Step | None:
    """Nothing is done for a Machine that is leaving; `finalize` is called for it."""
    if observed.is_leaving:
        return indeterminate.keep(observed, now, POLL_SECONDS)
    return None


def read(observed: Observed, now: datetime) -> Step | None:
    """Polling is answered from the shared list; what may lead to a change is read afresh.

    So is a pool that is being created as the list has it, although its node is ready or the pool was
    seen finished before: the list is the older one.
    """
    pool, hint = observed.pool, observed.hints.pool
    if pool is None:
        is_known = hint is not None and hint.state not in ("", *FAILED_STATES)
        is_due = bool(observed.hints.absent_since) or registration.is_overdue(observed, now)
        return ReadPool(fresh=not is_known or is_due)
    if observed.is_fresh or isinstance(pool, Unknown):
        return None
    was_finished = registration.is_usable(observed) or observed.hints.is_true(reasons.LAUNCHED)
    is_older = isinstance(pool, Ours) and pool.state == "Creating" and was_finished
    is_settled = isinstance(pool, Ours) and not pool.is_failed and not is_older
    return None if is_settled else ReadPool(fresh=True)


def foreign(observed: Observed, now: datetime) -> Step | None:
    """Row 3: a pool of someone else is never touched."""
    if not isinstance(observed.pool, Foreign):
        return None
    says = not_launched(
        reasons.NAME_CONFLICT,
        f"{observed.pool.what} '{observed.machine.ref.name}' exists and belongs to someone else: "
        "delete it, or replace the Machine to get one of another name.",
    )
    return answer(observed, now, HOPELESS_SECONDS, says, attempt=observed.hints.attempt)


def absent(observed: Observed, now: datetime) -> Step | None:
    """Rows 4 to 6: wait, make sure, create."""
    if not isinstance(observed.pool, Absent):
        return None
    return (
        launch.outcome(observed, now)
        or launch.refused(observed, now)
        or launch.waiting(observed, now)
        or launch.given_up(observed, now)
        or deletion_proof.recheck(observed, now)
        or launch.create(observed, now)
    )


def creating(observed: Observed, now: datetime) -> Step | None:
    """Row 7: any state that is not an end, while there is no virtual machine yet."""
    pool = observed.pool
    if not isinstance(pool, Ours) or pool.is_complete or pool.is_failed or pool.is_deleting:
        return None
    if pool.state != "Creating" and observed.hints.is_true(reasons.LAUNCHED):
        return None  # An update of a pool that has its node: the node decides.
    is_slow = pool.created is not None and now - pool.created >= SLOW
    says = not_launched(*launch.progress(observed.machine.size, is_slow))
    return answer(observed, now, POLL_SECONDS, says, pool=pool, attempt=launch.under_way(observed))


def failed(observed: Observed, now: datetime) -> Step | None:
    """Row 8: a failed pool may hold a virtual machine that is paid for."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_failed:
        return None
    if observed.hints.is_true(reasons.LAUNCHED) or registration.is_usable(observed):
        return None
    return liveness.delete(observed, now, liveness.failure(pool))


def degraded(observed: Observed, now: datetime) -> Step | None:
    """Row 8b: a node that works is kept, whatever its pool says of itself."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_failed or not registration.is_usable(observed):
        return None
    message = "The node works although Azure marks its agent pool as failed. "
    message += liveness.failure(pool).message(observed.machine.size)
    warning = Condition(reasons.DEGRADED, "True", reasons.POOL_FAILED, message)
    return answer(
        observed,
        now,
        SETTLED_SECONDS,
        (*ready(), warning),
        pool=pool,
        attempt=launch.under_way(observed),
        node=observed.nodes[0],
    )


def deleting(observed: Observed, now: datetime) -> Step | None:
    """Row 9: by us after a failure, or by someone else."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_deleting:
        return None
    says = liveness.setback(
        observed,
        reasons.POOL_DELETING,
        "Someone deletes the node; another one is created when it is gone.",
    )
    return answer(
        observed,
        now,
        POLL_SECONDS,
        says,
        pool=pool,
        attempt=observed.hints.attempt,
        error=observed.hints.error,
    )


def settled(observed: Observed, now: datetime) -> Step:
    """Row 13: all is well."""
    return answer(
        observed,
        now,
        SETTLED_SECONDS,
        ready(),
        pool=observed.pool if isinstance(observed.pool, Ours) else None,
        attempt=launch.done(observed),
        node=observed.nodes[0],
    )


ROWS: tuple[Row, ...] = (
    invalid,
    leaving,
    indeterminate.paused,
    read,
    indeterminate.unknown,
    foreign,
    absent,
    registration.told,
    creating,
    failed,
    degraded,
    deleting,
    registration.lost,
    registration.missing,
    registration.registering,
    registration.initializing,
)
