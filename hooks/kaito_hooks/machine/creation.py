"""From nothing to a pool that is being created: rows 4 and 6 of the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import preflight, reasons
from kaito_hooks.machine.api import wanted_pool
from kaito_hooks.machine.hints import Attempt, PoolHint
from kaito_hooks.machine.phases import not_launched
from kaito_hooks.machine.priority import SPOT, falls_back, next_priority
from kaito_hooks.machine.provider import Absent
from kaito_hooks.machine.status import answer, last_error, tried, until
from kaito_hooks.machine.steps import Answer, Created, CreatePool, Observed, Step
from kaito_hooks.machine.trouble import (
    AlreadyExists,
    Delayed,
    ProviderError,
    Refused,
    Unanswered,
    Unclear,
    Underway,
)
from kaito_hooks.machine.unclear import keep, not_known

POLL_SECONDS = 15
HOPELESS_SECONDS = 600
FINALIZER_SECONDS = 5


def progress(size: str, is_slow: bool = False) -> tuple[str, str]:
    """Reason and message while the pool is being created."""
    if is_slow:
        return (
            reasons.CREATE_SLOW,
            f"The {size} node has been under way for more than half an hour; if it does not "
            "come, choose another `resource.instanceType` or delete the Workspace.",
        )
    return reasons.CREATING, f"The {size} node is being created; this takes some minutes."


def under_way(observed: Observed) -> Attempt:
    """The tries so far, once there is a pool: nothing is waited for any more."""
    return replace(observed.hints.attempt, retry_after=None)


def refused(observed: Observed, now: datetime) -> Step | None:
    """Row 6e, later: not asked again until the Machine or its annotation kaito.sh/retry changes."""
    hints = observed.hints
    if hints.reason(reasons.LAUNCHED) not in reasons.REFUSALS or falls_back(observed):
        return None
    changed = hints.generation(reasons.LAUNCHED) != observed.machine.generation
    if changed or hints.attempt.retry != observed.machine.retry:
        return None
    return _not_yet(observed, now, HOPELESS_SECONDS)


def waiting(observed: Observed, now: datetime) -> Step | None:
    """Row 4: the moment of the next try has not come."""
    seconds = observed.hints.seconds_left(now)
    return _not_yet(observed, now, seconds) if seconds and not falls_back(observed) else None


def given_up(observed: Observed, now: datetime) -> Step | None:
    """Row 5, first half: the provider took back what it had accepted, and says why."""
    pool = observed.pool
    if not isinstance(pool, Absent) or pool.why is None or observed.hints.pool is None:
        return None
    later = until(observed.hints.attempt, now, pool.why.wait)
    return _denied(observed, now, pool.why, later, pool.why.wait)


def create(observed: Observed, now: datetime) -> Step:
    """Row 6: the finalizer is there, so nothing that is made now can be forgotten."""
    if not observed.machine.has_finalizer:
        says = not_launched(
            reasons.AWAITING_FINALIZER,
            "The Machine has no finalizer of Metacontroller yet: nothing is created before.",
        )
        return answer(observed, now, FINALIZER_SECONDS, says, attempt=observed.hints.attempt)
    is_spot = next_priority(observed) == SPOT
    return preflight.check(observed, now) or CreatePool(
        replace(wanted_pool(observed.machine, now), is_spot=is_spot)
    )


def outcome(observed: Observed, now: datetime) -> Step | None:
    """Rows 6a to 6g: what the provider said to the request."""
    match observed.outcome:
        case Created(state):
            return _started(observed, now, PoolHint(observed.machine.ref.name, state))
        case Underway():
            return _started(observed, now, PoolHint(observed.machine.ref.name))
        case AlreadyExists() as error:
            return _look_again(observed, now, error, observed.hints.attempt)
        case Unanswered() as error:
            return _look_again(observed, now, error, tried(observed, now))
        case Unclear() as error:
            return not_known(observed, now, error)
        case Refused() as error:
            return _denied(observed, now, error, tried(observed, now), HOPELESS_SECONDS)
        case Delayed() as error:  # Not a failure, so not counted.
            later = until(observed.hints.attempt, now, error.wait)
            return _denied(observed, now, error, later, error.wait)
        case ProviderError() as error:
            later = until(tried(observed, now), now, error.wait)
            return _denied(observed, now, error, later, error.wait)
    return None


def _started(observed: Observed, now: datetime, pool: PoolHint) -> Answer:
    says = not_launched(*progress(observed.machine.size))
    return answer(observed, now, POLL_SECONDS, says, pool=pool, attempt=tried(observed, now))


def _look_again(
    observed: Observed, now: datetime, error: ProviderError, attempt: Attempt
) -> Answer:
    """There may be a pool now: it is named, so that its absence would have to be proven."""
    return answer(
        observed,
        now,
        error.wait,
        not_launched(error.reason, error.message(observed.machine.size), unknown=True),
        pool=PoolHint(observed.machine.ref.name),
        attempt=attempt,
    )


def _denied(
    observed: Observed, now: datetime, error: ProviderError, attempt: Attempt, seconds: int
) -> Answer:
    return answer(
        observed,
        now,
        seconds,
        not_launched(error.reason, error.message(observed.machine.size)),
        attempt=attempt,
        error=last_error(observed, error),
    )


def _not_yet(observed: Observed, now: datetime, seconds: int) -> Answer:
    """The reason of the last trouble, as long as nothing new is known."""
    hints = observed.hints
    said = hints.failure
    if said is None:
        return keep(observed, now, seconds)
    return answer(
        observed,
        now,
        seconds,
        not_launched(said.reason, said.message),
        pool=hints.pool,
        attempt=hints.attempt,
        error=hints.error,
        absent_since=hints.absent_since,
    )
