"""Getting rid of a pool that will never have a node, and saying why the next one is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kaito_hooks.api import commands
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import namespace
from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine import deletion, reasons
from kaito_hooks.machine.actions import Answer, Decision, Deleted, Observed, ReadPool
from kaito_hooks.machine.conditions import as_before, not_launched
from kaito_hooks.machine.errors import DeletionFailed, PoolFailed, ProviderError
from kaito_hooks.machine.last_status import Attempt, PoolStatus
from kaito_hooks.machine.provider import Ours
from kaito_hooks.machine.status import answer, ended, last_error, seen, until
from kaito_hooks.machine.timing import SLOW_POLL_SECONDS, SOON_SECONDS


def failure(observed: Observed, pool: Ours) -> ProviderError:
    """Why the pool failed, as far as it says."""
    return pool.error or observed.profile.error(PoolFailed, pool.state)


def is_given_up(attempt: Attempt) -> bool:
    """Whether another try would only cost another node."""
    return attempt.in_a_row >= reasons.MOST_TRIES.get(attempt.reason, attempt.in_a_row + 1)


def delete(observed: Observed, now: datetime, why: ProviderError) -> Decision:
    """Row 8: delete first, retry later; the owner reads the reason all the while."""
    pool, before = observed.own_pool, observed.last.pool
    if not observed.is_fresh:
        return ReadPool(fresh=True)
    if observed.outcome is None and (before is None or before.state != pool.state):
        if before is not None and before.state == "Deleting":
            detail = f"Its state is {pool.state}."
            return _not_deleted(
                observed, now, observed.profile.error(DeletionFailed, detail=detail)
            )
        return _found(observed, now, why)
    action = deletion.next_action(observed, now)
    if isinstance(action, Deleted):
        return _deleted(observed, now, why)
    return _not_deleted(observed, now, action) if isinstance(action, ProviderError) else action


def setback(
    observed: Observed, reason: str, message: str, unknown: bool = False
) -> Sequence[Condition]:
    """What to say while no pool is there: the failure that led to it, else the given reason."""
    before = observed.last.failure
    if before is None:
        return not_launched(reason, message, unknown)
    given_up = is_given_up(observed.last.attempt)
    return not_launched(before.reason, before.message, given_up=given_up)


def _not_deleted(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """The reason stays, the error is shown beside it, and nothing is asked for a while."""
    seconds = deletion.seconds_until_next(observed, error)
    status = replace(
        seen(observed, observed.own_pool),
        attempt=until(observed.last.attempt, now, seconds),
        error=last_error(observed, error),
    )
    return answer(observed, now, seconds, as_before(observed, error), status)


def _found(observed: Observed, now: datetime, why: ProviderError) -> Answer:
    """Said before anything is done: finding it took the requests that a call may make."""
    conditions = not_launched(why.reason, why.message(observed.machine.size))
    status = replace(seen(observed, observed.own_pool), error=last_error(observed, why))
    return answer(observed, now, SOON_SECONDS, conditions, status)


def _deleted(observed: Observed, now: datetime, why: ProviderError) -> Answer:
    attempt, made = observed.last.attempt, _made(observed)
    if made is not None and attempt.failed_pool == made:
        # Its deletion has failed: it is counted already.
        attempt = until(attempt, now, why.wait_after(attempt.in_a_row))
    else:
        attempt = replace(ended(attempt, now, why), failed_pool=made)
    message, has_ended = why.message(observed.machine.size), is_given_up(attempt)
    if has_ended:
        message = f"{_after_the_last(observed, attempt)} {message}"
    status = replace(
        observed.last.with_pool(PoolStatus(observed.machine.ref.name, "Deleting")),
        attempt=attempt,
        error=last_error(observed, why),
    )
    conditions = not_launched(why.reason, message, given_up=has_ended)
    return answer(observed, now, SLOW_POLL_SECONDS, conditions, status)


def _made(observed: Observed) -> datetime | None:
    """When the pool was asked for, to the second: it tells one pool from the next of its name."""
    created = observed.own_pool.created
    return whole_second(created) if created else None


def _after_the_last(observed: Observed, attempt: Attempt) -> str:
    machine = observed.machine
    again = commands.retry("machine", machine.ref.name, namespace(machine.manifest))
    return (
        f"{attempt.in_a_row} nodes in a row failed so, and no more are made until a person has looked. "
        f"After fixing what is said here: {again}."
    )
