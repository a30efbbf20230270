"""What to do about a Machine that is being deleted: it leaves when its pool is proven gone.

There is no moment at which this gives up: a finalizer that goes too early leaks a paid node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import deletion, deletion_proof, indeterminate, reasons
from kaito_hooks.machine.actions import (
    Answer,
    Decision,
    Deleted,
    ListPools,
    Observed,
    ReadPool,
    Rule,
)
from kaito_hooks.machine.conditions import as_before
from kaito_hooks.machine.errors import DeletionFailed, ProviderError
from kaito_hooks.machine.last_status import Attempt, MachineStatus, PoolStatus
from kaito_hooks.machine.provider import Absent, Foreign, Ours, Unknown
from kaito_hooks.machine.status import answer, last_error, until
from kaito_hooks.machine.timing import BLOCKED_AFTER, POLL_SECONDS, SHORTEST_FINALIZE_SECONDS

SEEN_ABSENT = "The node is gone; the Machine goes when that is certain."


def decide(observed: Observed, now: datetime) -> Decision:
    """What the first rule says that applies."""
    for rule in RULES:
        decision = rule(observed, now)
        if decision is not None:
            return decision
    return gone(observed, now)


def nameless(observed: Observed, now: datetime) -> Decision | None:
    """F1: no pool can ever have had that name."""
    return None if observed.machine.can_have_pool else gone(observed, now)


def paused(observed: Observed, now: datetime) -> Decision | None:
    """F2, later: nothing is asked before the moment that the last error named."""
    seconds = indeterminate.seconds_paused(observed, now)
    return keep(observed, now, seconds) if seconds else None


def keep(observed: Observed, now: datetime, seconds: int) -> Answer:
    """What was known, of a Machine that is on its way out: `Ready` is never repeated as True."""
    summary = (types.READY, "Reconciling", "Stalled")
    before = observed.last.condition(types.READY)
    is_deleting = before is not None and before.reason == reasons.DELETING
    message = before.message if before and is_deleting else "The node is read soon."
    kept = [item for item in as_before(observed) if item.type not in summary]
    conditions = [*kept, *_deleting(message)]
    seconds = max(seconds, SHORTEST_FINALIZE_SECONDS)
    return answer(observed, now, seconds, conditions, observed.last.without_node())


def between(observed: Observed, now: datetime) -> Decision | None:
    """F6, later: between the two looks nothing is asked; a status that is wrong costs 45 seconds."""
    if observed.pool is not None or observed.last.absent_since is None:
        return None
    left = deletion_proof.seconds_left(observed, now)
    return _wait_absent(observed, now, left) if left else None


def read(observed: Observed, now: datetime) -> Decision | None:  # noqa: ARG001  every Rule takes it
    """Only a deletion under way is watched through the shared list; what else it shows is read afresh."""
    pool, last = observed.pool, observed.last
    if pool is None:
        is_watched = last.pool is not None and last.pool.state == "Deleting"
        return ReadPool(fresh=not is_watched or last.absent_since is not None)
    if observed.is_fresh or isinstance(pool, Unknown):
        return None
    is_deleting = isinstance(pool, Ours) and pool.is_deleting
    return None if is_deleting else ReadPool(fresh=True)


def ended(observed: Observed, now: datetime) -> Decision | None:
    """A deletion that was watched has come to something: finding that out took requests, so this call ends here."""
    pool, last = observed.pool, observed.last
    was_deleting = last.pool is not None and last.pool.state == "Deleting"
    if not was_deleting or isinstance(pool, Unknown) or last.absent_since:
        return None
    if isinstance(pool, Ours):
        detail = f"Its state is {pool.state}."
        is_asked = pool.is_deleting or observed.outcome is not None
        failed = observed.profile.error(DeletionFailed, detail=detail)
        return None if is_asked else _not_deleted(observed, now, failed)
    status = replace(_waiting(observed), pool=PoolStatus(observed.machine.ref.name))
    conditions = _conditions(observed, "The node is read once more, to see that it is gone.")
    return answer(observed, now, SHORTEST_FINALIZE_SECONDS, conditions, status)


def unknown(observed: Observed, now: datetime) -> Decision | None:
    """F2: nothing usable was answered."""
    if not isinstance(observed.pool, Unknown):
        return None
    return _not_deleted(observed, now, observed.pool.error)


def deleting(observed: Observed, now: datetime) -> Decision | None:
    """F5: no second deletion."""
    if not isinstance(observed.pool, Ours) or not observed.pool.is_deleting:
        return None
    return _wait_deleting(observed, now)


def delete(observed: Observed, now: datetime) -> Decision | None:
    """F4: ours, read in this call, and deleted as it was read."""
    pool = observed.pool
    if not isinstance(pool, Ours):
        return None
    match deletion.next_action(observed, now):
        case Deleted():
            return _wait_deleting(replace(observed, pool=replace(pool, state="Deleting")), now)
        case ProviderError() as error:
            return _not_deleted(observed, now, error)
        case action:
            return action


def prove(observed: Observed, now: datetime) -> Decision | None:
    """F3 and F6: that nothing of ours is there is made sure of twice."""
    if not isinstance(observed.pool, Absent | Foreign):
        return None
    if observed.listing is None:
        return ListPools()
    doubt = deletion_proof.doubt_of(observed)
    if doubt is not None:
        return _not_deleted(observed, now, doubt)
    left = deletion_proof.seconds_left(observed, now)
    return _wait_absent(observed, now, left) if left else None


def gone(observed: Observed, now: datetime) -> Answer:
    """F7: proven."""
    status = replace(
        observed.last.without_pool(),
        attempt=Attempt(),
        absent_since=deletion_proof.since(observed, now),
    )
    conditions = _conditions(observed, "The node is gone.")
    return replace(answer(observed, now, 0, conditions, status), finalized=True)


RULES: tuple[Rule, ...] = (
    nameless,
    paused,
    between,
    read,
    unknown,
    ended,
    deleting,
    delete,
    prove,
)


def _not_deleted(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """Called again after the wait; the error is shown, and after five minutes as a condition of its own."""
    if isinstance(observed.pool, Ours):
        seconds = deletion.seconds_until_next(observed, error)
    else:
        seconds = indeterminate.wait(observed, now, error)
    seconds = max(seconds, SHORTEST_FINALIZE_SECONDS)
    message = error.message(observed.machine.size)
    conditions = [
        *_conditions(observed, message),
        Condition(types.PROVIDER_TROUBLE, "True", error.reason, message),
    ]
    since = observed.machine.deleted_at
    if since is not None and now - since >= BLOCKED_AFTER:
        conditions.append(Condition(types.DELETION_BLOCKED, "True", error.reason, message))
    status = replace(
        _waiting(observed),
        attempt=until(Attempt(), now, seconds),
        error=last_error(observed, error),
        absent_since=observed.last.absent_since,
    )
    return answer(observed, now, seconds, conditions, status)


def _wait_deleting(observed: Observed, now: datetime) -> Answer:
    conditions = _conditions(observed, "The node is being deleted.")
    return answer(observed, now, POLL_SECONDS, conditions, _waiting(observed))


def _wait_absent(observed: Observed, now: datetime, seconds: int) -> Answer:
    status = replace(_waiting(observed), absent_since=deletion_proof.since(observed, now))
    conditions = _conditions(observed, SEEN_ABSENT)
    return answer(observed, now, max(seconds, SHORTEST_FINALIZE_SECONDS), conditions, status)


def _waiting(observed: Observed) -> MachineStatus:
    """The pool as it was seen, or was known before; nothing is tried to create it any more."""
    pool, name = observed.last.pool, observed.machine.ref.name
    if isinstance(observed.pool, Ours):
        pool = PoolStatus(name, observed.pool.state)
    return replace(observed.last.without_pool(), pool=pool, attempt=Attempt())


def _conditions(observed: Observed, message: str) -> Sequence[Condition]:
    kept = [item for item in as_before(observed) if item.type in types.LIFECYCLE]
    return [*kept, *_deleting(message)]


def _deleting(message: str) -> Sequence[Condition]:
    return [
        Condition(types.READY, "False", reasons.DELETING, message),
        Condition("Reconciling", "True", reasons.DELETING, message),
    ]
