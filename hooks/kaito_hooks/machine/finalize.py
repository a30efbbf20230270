"""What to do about a Machine that is being deleted: it leaves when its pool is proven gone.

There is no moment at which this gives up: a finalizer that goes too early leaks a paid node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine import deletion, deletion_proof, indeterminate, reasons
from kaito_hooks.machine.actions import Answer, Deleted, ListPools, Observed, ReadPool, Row, Step
from kaito_hooks.machine.conditions import as_before
from kaito_hooks.machine.errors import DeletionFailed, ProviderError
from kaito_hooks.machine.last_status import Attempt, PoolHint
from kaito_hooks.machine.provider import Absent, Foreign, Ours, Unknown
from kaito_hooks.machine.status import answer, last_error, until

POLL_SECONDS = 15
SHORTEST_SECONDS = 5
"""Metacontroller calls again only after a resync that is asked for (contract row C50)."""
BLOCKED_AFTER = timedelta(minutes=5)
SEEN_ABSENT = "The node is gone; the Machine goes when that is certain."


def decide(observed: Observed, now: datetime) -> Step:
    """The first row that applies."""
    for row in ROWS:
        step = row(observed, now)
        if step is not None:
            return step
    return gone(observed, now)


def nameless(observed: Observed, now: datetime) -> Step | None:
    """F1: no pool can ever have had that name."""
    return None if observed.machine.can_have_pool else _leave(observed, now)


def paused(observed: Observed, now: datetime) -> Step | None:
    """F2, later: nothing is asked before the moment that the last trouble named."""
    seconds = indeterminate.seconds_paused(observed, now)
    return keep(observed, now, seconds) if seconds else None


def keep(observed: Observed, now: datetime, seconds: int) -> Answer:
    """What was known, of a Machine that is on its way out: `Ready` is never repeated as True."""
    hints = observed.hints
    summary = (reasons.READY, "Reconciling", "Stalled")
    before = hints.condition(reasons.READY)
    is_told = before is not None and before.reason == reasons.DELETING
    message = before.message if before and is_told else "The node is looked at soon."
    kept = [item for item in as_before(observed) if item.type not in summary]
    ready = Condition(reasons.READY, "False", reasons.DELETING, message)
    return answer(
        observed,
        now,
        max(seconds, SHORTEST_SECONDS),
        [*kept, ready, Condition("Reconciling", "True", reasons.DELETING, message)],
        pool=hints.pool,
        attempt=hints.attempt,
        error=hints.error,
        absent_since=hints.absent_since,
    )


def between(observed: Observed, now: datetime) -> Step | None:
    """F6, later: between the two looks nothing is asked; a status that is wrong costs 45 seconds."""
    if observed.pool is not None or observed.hints.absent_since is None:
        return None
    left = deletion_proof.seconds_left(observed, now)
    since = deletion_proof.since(observed, now)
    return _wait(observed, now, left, SEEN_ABSENT, absent_since=since) if left else None


def read(observed: Observed, now: datetime) -> Step | None:
    """Only a deletion under way is watched through the shared list; what else it shows is read afresh."""
    pool, hint = observed.pool, observed.hints.pool
    if pool is None:
        seen_absent = observed.hints.absent_since is not None
        return ReadPool(fresh=hint is None or hint.state != "Deleting" or seen_absent)
    if observed.is_fresh or isinstance(pool, Unknown):
        return None
    is_deleting = isinstance(pool, Ours) and pool.is_deleting
    return None if is_deleting else ReadPool(fresh=True)


def ended(observed: Observed, now: datetime) -> Step | None:
    """A deletion that was watched has come to something: finding that out took requests, so this call ends here."""
    pool, hint = observed.pool, observed.hints.pool
    was_deleting = hint is not None and hint.state == "Deleting"
    if not was_deleting or isinstance(pool, Unknown) or observed.hints.absent_since:
        return None
    if isinstance(pool, Ours):
        failed = DeletionFailed(detail=f"Its state is {pool.state}.")
        is_asked = pool.is_deleting or observed.outcome is not None
        return None if is_asked else _troubled(observed, now, failed)
    unseen = replace(observed.hints, pool=PoolHint(observed.machine.ref.name))
    watched = replace(observed, pool=None, hints=unseen)
    return _wait(watched, now, SHORTEST_SECONDS, "It is looked at once more that the node is gone.")


def unknown(observed: Observed, now: datetime) -> Step | None:
    """F2: nothing usable was answered."""
    if not isinstance(observed.pool, Unknown):
        return None
    return _troubled(observed, now, observed.pool.error)


def deleting(observed: Observed, now: datetime) -> Step | None:
    """F5: no second deletion."""
    if not isinstance(observed.pool, Ours) or not observed.pool.is_deleting:
        return None
    return _wait(observed, now, POLL_SECONDS, "The node is being deleted.")


def delete(observed: Observed, now: datetime) -> Step | None:
    """F4: ours, read in this call, and deleted as it was read."""
    pool = observed.pool
    if not isinstance(pool, Ours):
        return None
    match deletion.next_call(observed, now):
        case Deleted():
            observed = replace(observed, pool=replace(pool, state="Deleting"))
            return _wait(observed, now, POLL_SECONDS, "The node is being deleted.")
        case ProviderError() as error:
            return _troubled(observed, now, error)
        case call:
            return call


def prove(observed: Observed, now: datetime) -> Step | None:
    """F3 and F6: that nothing of ours is there is made sure of twice."""
    if not isinstance(observed.pool, Absent | Foreign):
        return None
    if observed.listing is None:
        return ListPools()
    doubt = deletion_proof.doubt_of(observed)
    if doubt is not None:
        return _troubled(observed, now, doubt)
    left = deletion_proof.seconds_left(observed, now)
    if left == 0:
        return None
    since = deletion_proof.since(observed, now)
    return _wait(observed, now, left, SEEN_ABSENT, absent_since=since)


def gone(observed: Observed, now: datetime) -> Answer:
    """F7: proven."""
    return _leave(observed, now)


ROWS: tuple[Row, ...] = (
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


def _leave(observed: Observed, now: datetime) -> Answer:
    since = deletion_proof.since(observed, now)
    says = _conditions(observed, now, "The node is gone.", None)
    return answer(observed, now, 0, says, absent_since=since, finalized=True)


def _troubled(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """Called again after the wait; the trouble is shown, and after five minutes as one."""
    if isinstance(observed.pool, Ours):
        seconds = deletion.seconds_until_next(observed, error)
    else:
        seconds = indeterminate.wait(observed, now, error)
    seconds = max(seconds, SHORTEST_SECONDS)
    says = _conditions(observed, now, error.message(observed.machine.size), error)
    return answer(
        observed,
        now,
        seconds,
        says,
        pool=observed.pool if isinstance(observed.pool, Ours) else observed.hints.pool,
        attempt=until(Attempt(), now, seconds),
        error=last_error(observed, error),
        absent_since=observed.hints.absent_since,
    )


def _wait(
    observed: Observed,
    now: datetime,
    seconds: int,
    message: str,
    absent_since: datetime | None = None,
) -> Answer:
    return answer(
        observed,
        now,
        max(seconds, SHORTEST_SECONDS),
        _conditions(observed, now, message, None),
        pool=observed.pool if isinstance(observed.pool, Ours) else observed.hints.pool,
        absent_since=absent_since,
    )


def _conditions(
    observed: Observed, now: datetime, message: str, error: ProviderError | None
) -> Sequence[Condition]:
    phases = [item for item in as_before(observed) if item.type in reasons.PHASES]
    ready = Condition(reasons.READY, "False", reasons.DELETING, message)
    found = [*phases, ready, Condition("Reconciling", "True", reasons.DELETING, message)]
    if error is not None:
        found.append(Condition(reasons.PROVIDER_TROUBLE, "True", error.reason, message))
        since = observed.machine.deleted_at
        if since is not None and now - since >= BLOCKED_AFTER:
            found.append(Condition(reasons.DELETION_BLOCKED, "True", error.reason, message))
    return found
