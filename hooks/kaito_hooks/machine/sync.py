"""What to do about a Machine that should exist: the rows of docs/machine-states.md, in their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import (
    deletion_proof,
    indeterminate,
    launch,
    liveness,
    reasons,
    registration,
)
from kaito_hooks.machine.actions import Decision, Observed, ReadPool, Rule
from kaito_hooks.machine.conditions import not_launched, ready
from kaito_hooks.machine.provider import FAILED_STATES, Absent, Foreign, Ours, Unknown
from kaito_hooks.machine.status import answer, seen
from kaito_hooks.machine.timing import (
    POLL_SECONDS,
    SETTLED_SECONDS,
    SLOW_CREATION,
    TERMINAL_SECONDS,
)


def decide(observed: Observed, now: datetime) -> Decision:
    """What the first rule says that applies."""
    for rule in RULES:
        decision = rule(observed, now)
        if decision is not None:
            return decision
    return settled(observed, now)


def invalid(observed: Observed, now: datetime) -> Decision | None:
    """Row 1: an invalid Machine is told what is wrong, and nothing is asked."""
    error = observed.machine.validation_error
    if error is None:
        return None
    conditions = not_launched(error.reason, error.message)
    return answer(observed, now, TERMINAL_SECONDS, conditions, observed.last.without_pool())


def leaving(observed: Observed, now: datetime) -> Decision | None:
    """Nothing is done for a Machine that is leaving; `finalize` is called for it."""
    if observed.is_leaving:
        return indeterminate.keep(observed, now, POLL_SECONDS)
    return None


def read(observed: Observed, now: datetime) -> Decision | None:
    """Polling is answered from the shared list; what may lead to a change is read afresh.

    So is a pool that is being created as the list has it, although its node is ready or the pool was
    seen finished before: the list is the older one.
    """
    pool, before = observed.pool, observed.last.pool
    if pool is None:
        is_known = before is not None and before.state not in ("", *FAILED_STATES)
        is_due = bool(observed.last.absent_since) or registration.is_overdue(observed, now)
        return ReadPool(fresh=not is_known or is_due)
    if observed.is_fresh or isinstance(pool, Unknown):
        return None
    was_finished = registration.is_usable(observed) or observed.last.is_true(types.LAUNCHED)
    is_older = isinstance(pool, Ours) and pool.state == "Creating" and was_finished
    is_settled = isinstance(pool, Ours) and not pool.is_failed and not is_older
    return None if is_settled else ReadPool(fresh=True)


def foreign(observed: Observed, now: datetime) -> Decision | None:
    """Row 3: a pool of someone else is never touched."""
    if not isinstance(observed.pool, Foreign):
        return None
    conditions = not_launched(
        reasons.NAME_CONFLICT,
        f"The {observed.profile.pool} '{observed.machine.ref.name}' exists and belongs to someone else: "
        "delete it, or replace the Machine to get one of another name.",
    )
    return answer(observed, now, TERMINAL_SECONDS, conditions, observed.last.without_pool())


def absent(observed: Observed, now: datetime) -> Decision | None:
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


def creating(observed: Observed, now: datetime) -> Decision | None:
    """Row 7: any state that is not an end, while there is no virtual machine yet."""
    pool = observed.pool
    if not isinstance(pool, Ours) or pool.is_complete or pool.is_failed or pool.is_deleting:
        return None
    if pool.state != "Creating" and observed.last.is_true(types.LAUNCHED):
        return None  # An update of a pool that has its node: the node decides.
    is_slow = pool.created is not None and now - pool.created >= SLOW_CREATION
    conditions = not_launched(*launch.progress(observed.machine.size, is_slow))
    status = replace(seen(observed, pool), attempt=launch.under_way(observed))
    return answer(observed, now, POLL_SECONDS, conditions, status)


def failed(observed: Observed, now: datetime) -> Decision | None:
    """Row 8: a failed pool may hold a virtual machine that is paid for."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_failed:
        return None
    if observed.last.is_true(types.LAUNCHED) or registration.is_usable(observed):
        return None
    return liveness.delete(observed, now, liveness.failure(observed, pool))


def degraded(observed: Observed, now: datetime) -> Decision | None:
    """Row 8b: a node that works is kept, whatever its pool says of itself."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_failed or not registration.is_usable(observed):
        return None
    name, kind = observed.profile.name, observed.profile.pool
    message = f"The node works although {name} marks its {kind} as failed. "
    message += liveness.failure(observed, pool).message(observed.machine.size)
    warning = Condition(types.DEGRADED, "True", reasons.POOL_FAILED, message)
    status = replace(seen(observed, pool, observed.nodes[0]), attempt=launch.under_way(observed))
    return answer(observed, now, SETTLED_SECONDS, (*ready(), warning), status)


def deleting(observed: Observed, now: datetime) -> Decision | None:
    """Row 9: by us after a failure, or by someone else."""
    pool = observed.pool
    if not isinstance(pool, Ours) or not pool.is_deleting:
        return None
    conditions = liveness.setback(
        observed,
        reasons.POOL_DELETING,
        "Someone deletes the node; another one is created when it is gone.",
    )
    status = replace(seen(observed, pool), error=observed.last.error)
    return answer(observed, now, POLL_SECONDS, conditions, status)


def settled(observed: Observed, now: datetime) -> Decision:
    """Row 13: all is well."""
    status = seen(observed, observed.own_pool, observed.nodes[0])
    status = replace(status, attempt=launch.done(observed))
    return answer(observed, now, SETTLED_SECONDS, ready(), status)


RULES: tuple[Rule, ...] = (
    invalid,
    leaving,
    indeterminate.paused,
    read,
    indeterminate.unknown,
    foreign,
    absent,
    registration.reported,
    creating,
    failed,
    degraded,
    deleting,
    registration.lost,
    registration.missing,
    registration.registering,
    registration.initializing,
)
