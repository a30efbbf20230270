"""Getting rid of a pool that will never have a node, and saying why the next one is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kaito_hooks.api import commands
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import namespace
from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine import deletion
from kaito_hooks.machine.actions import Answer, Deleted, Observed, ReadPool, Step
from kaito_hooks.machine.conditions import as_before, not_launched
from kaito_hooks.machine.denied import NoNode, PoolFailed, SetupFailed
from kaito_hooks.machine.errors import DeletionFailed, ProviderError
from kaito_hooks.machine.last_status import Attempt, PoolHint
from kaito_hooks.machine.provider import Ours
from kaito_hooks.machine.status import answer, ended, last_error, until

POLL_SECONDS, SOON_SECONDS = 30, 1
MOST_TRIES = {kind.reason: kind.most_tries for kind in (NoNode, SetupFailed)}
"""Reasons that each cost a node: after so many in a row a person has to look."""


def failure(pool: Ours) -> ProviderError:
    """Why the pool failed, as far as it says."""
    return pool.error or PoolFailed(pool.state)


def is_given_up(attempt: Attempt) -> bool:
    """Whether another try would only cost another node."""
    return attempt.in_a_row >= MOST_TRIES.get(attempt.reason, attempt.in_a_row + 1)


def delete(observed: Observed, now: datetime, why: ProviderError) -> Step:
    """Row 8: delete first, try again later; the owner reads the reason all the while."""
    pool, hint = observed.pool, observed.hints.pool
    if not isinstance(pool, Ours):
        raise TypeError("only a pool that is ours may be deleted")
    if not observed.is_fresh:
        return ReadPool(fresh=True)
    if observed.outcome is None and (hint is None or hint.state != pool.state):
        if hint is not None and hint.state == "Deleting":
            return _troubled(observed, now, DeletionFailed(detail=f"Its state is {pool.state}."))
        return _found(observed, now, why)
    step = deletion.next_call(observed, now)
    if isinstance(step, Deleted):
        return _deleted(observed, now, why)
    return _troubled(observed, now, step) if isinstance(step, ProviderError) else step


def _troubled(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """The reason stays, the trouble is told beside it, and nothing is asked for a while."""
    seconds = deletion.seconds_until_next(observed, error)
    return answer(
        observed,
        now,
        seconds,
        as_before(observed, error),
        pool=observed.pool if isinstance(observed.pool, Ours) else None,
        attempt=until(observed.hints.attempt, now, seconds),
        error=last_error(observed, error),
    )


def _found(observed: Observed, now: datetime, why: ProviderError) -> Answer:
    """Said before anything is done: finding it took the requests that a call may make."""
    return answer(
        observed,
        now,
        SOON_SECONDS,
        not_launched(why.reason, why.message(observed.machine.size)),
        pool=observed.pool if isinstance(observed.pool, Ours) else None,
        attempt=observed.hints.attempt,
        error=last_error(observed, why),
    )


def _deleted(observed: Observed, now: datetime, why: ProviderError) -> Answer:
    attempt, made = observed.hints.attempt, _made(observed)
    if made is not None and attempt.failed_pool == made:
        # Its deletion has failed: it is counted already.
        attempt = until(attempt, now, why.wait_after(attempt.in_a_row))
    else:
        attempt = replace(ended(attempt, now, why), failed_pool=made)
    message, has_ended = why.message(observed.machine.size), is_given_up(attempt)
    if has_ended:
        message = f"{_last_word(observed, attempt)} {message}"
    return answer(
        observed,
        now,
        POLL_SECONDS,
        not_launched(why.reason, message, given_up=has_ended),
        pool=PoolHint(observed.machine.ref.name, "Deleting"),
        attempt=attempt,
        error=last_error(observed, why),
    )


def _made(observed: Observed) -> datetime | None:
    """When the pool was asked for, to the second: it tells one pool from the next of its name."""
    created = observed.pool.created if isinstance(observed.pool, Ours) else None
    return whole_second(created) if created else None


def _last_word(observed: Observed, attempt: Attempt) -> str:
    machine = observed.machine
    again = commands.retry("machine", machine.ref.name, namespace(machine.manifest))
    return (
        f"{attempt.in_a_row} nodes in a row came to this, and no more are made until a person has looked. "
        f"After mending what is said here: {again}."
    )


def setback(
    observed: Observed, reason: str, message: str, unknown: bool = False
) -> Sequence[Condition]:
    """What to say while no pool is there: the failure that led to it, else the given words."""
    said = observed.hints.failure
    if said is None:
        return not_launched(reason, message, unknown)
    return not_launched(said.reason, said.message, given_up=is_given_up(observed.hints.attempt))
