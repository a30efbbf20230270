"""From nothing to a pool that is being created: rows 4 and 6 of the table."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import liveness, preflight, reasons
from kaito_hooks.machine.actions import Answer, Created, CreatePool, Observed, Step
from kaito_hooks.machine.api import wanted_pool
from kaito_hooks.machine.capacity_type import SPOT, falls_back, next_priority
from kaito_hooks.machine.conditions import not_launched
from kaito_hooks.machine.denied import Refused
from kaito_hooks.machine.errors import (
    AlreadyExists,
    Delayed,
    ProviderError,
    Unanswered,
    Unclear,
    Underway,
)
from kaito_hooks.machine.indeterminate import keep, not_known
from kaito_hooks.machine.last_status import Attempt, PoolHint
from kaito_hooks.machine.provider import Absent
from kaito_hooks.machine.status import answer, ended, last_error, tried, until

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
    return replace(observed.hints.attempt, retry_after=None, delays=0)


def done(observed: Observed) -> Attempt:
    """The tries so far, once there is a node: what failed before is over."""
    return replace(under_way(observed), reason="", in_a_row=0, failed_pool=None)


def refused(observed: Observed, now: datetime) -> Step | None:
    """Row 6e, later: not asked again until someone changes what would be asked."""
    hints = observed.hints
    is_final = hints.reason(reasons.LAUNCHED) in reasons.REFUSALS or _is_given_up(observed)
    if not is_final or falls_back(observed) or has_changed(observed):
        return None
    return _not_yet(observed, now, HOPELESS_SECONDS)


def waiting(observed: Observed, now: datetime) -> Step | None:
    """Row 4: the moment of the next try has not come, and nothing has changed since the last."""
    seconds = observed.hints.seconds_left(now)
    is_asked_for = bool(observed.hints.attempt.delays)
    if not seconds or (not is_asked_for and (falls_back(observed) or has_changed(observed))):
        return None
    return _not_yet(observed, now, seconds)


def has_changed(observed: Observed) -> bool:
    """Whether a person, or the operator's settings, ask for something else than the last try did.

    Nobody's delay is overtaken by that: AKS counts the requests all the same.
    """
    hints, attempt = observed.hints, observed.hints.attempt
    failure = hints.failure
    if failure is None or failure.reason in reasons.DELAYS or attempt.delays:
        return False
    return (
        hints.generation(reasons.LAUNCHED) != observed.machine.generation
        or attempt.retry != observed.machine.retry
        or bool(attempt.digest and observed.digest and attempt.digest != observed.digest)
    )


def given_up(observed: Observed, now: datetime) -> Step | None:
    """Row 5, first half: the provider took back what it had accepted, and says why."""
    pool = observed.pool
    if not isinstance(pool, Absent) or pool.why is None or observed.hints.pool is None:
        return None
    return _denied(observed, now, pool.why, ended(observed.hints.attempt, now, pool.why))


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
        case Delayed() as error:
            return _delayed(observed, now, error)
        case ProviderError() as error:
            return _denied(observed, now, error, ended(tried(observed, now), now, error))
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


def _delayed(observed: Observed, now: datetime, error: Delayed) -> Answer:
    """Not a failure, so not counted as a try; what failed before it is still the reason."""
    delays = observed.hints.attempt.delays + 1
    seconds = error.wait_after(delays)
    attempt = replace(until(observed.hints.attempt, now, seconds), delays=delays)
    observed = replace(observed, hints=replace(observed.hints, attempt=attempt))
    failure = observed.hints.failure
    if failure is not None and failure.reason not in reasons.DELAYS:
        return _not_yet(observed, now, seconds)
    return answer(
        observed,
        now,
        seconds,
        not_launched(error.reason, error.message(observed.machine.size)),
        attempt=attempt,
        error=last_error(observed, error),
    )


def _denied(observed: Observed, now: datetime, error: ProviderError, attempt: Attempt) -> Answer:
    """Why there is no node; asked again when its time has come, unless it is final."""
    if isinstance(error, Refused):
        attempt = replace(attempt, retry_after=None)
    return answer(
        observed,
        now,
        HOPELESS_SECONDS if isinstance(error, Refused) else attempt.seconds_left(now),
        not_launched(error.reason, error.message(observed.machine.size)),
        attempt=attempt,
        error=last_error(observed, error),
    )


def _is_given_up(observed: Observed) -> bool:
    failure, attempt = observed.hints.failure, observed.hints.attempt
    return (
        failure is not None and liveness.is_given_up(attempt) and failure.reason == attempt.reason
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
        not_launched(said.reason, said.message, given_up=_is_given_up(observed)),
        pool=hints.pool,
        attempt=hints.attempt,
        error=hints.error,
        absent_since=hints.absent_since,
    )
