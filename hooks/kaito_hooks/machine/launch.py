"""From nothing to a pool that is being created: rows 4 and 6 of docs/machine-states.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import liveness, preflight, reasons
from kaito_hooks.machine.actions import Answer, Created, CreatePool, Decision, Observed
from kaito_hooks.machine.api import wanted_pool
from kaito_hooks.machine.capacity_type import falls_back, is_spot_next
from kaito_hooks.machine.conditions import not_launched
from kaito_hooks.machine.errors import (
    AlreadyExists,
    Delay,
    Indeterminate,
    ProviderError,
    Terminal,
    Unanswered,
    Underway,
)
from kaito_hooks.machine.indeterminate import keep, not_known
from kaito_hooks.machine.last_status import Attempt, PoolStatus
from kaito_hooks.machine.provider import Absent
from kaito_hooks.machine.status import answer, ended, last_error, tried, until
from kaito_hooks.machine.timing import FINALIZER_SECONDS, POLL_SECONDS, TERMINAL_SECONDS


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
    return replace(observed.last.attempt, retry_after=None, delays=0)


def done(observed: Observed) -> Attempt:
    """The tries so far, once there is a node: what failed before is over."""
    return replace(under_way(observed), reason="", in_a_row=0, failed_pool=None)


def refused(observed: Observed, now: datetime) -> Decision | None:
    """Row 6e, later: not asked again until someone changes what would be asked."""
    is_final = observed.last.reason(types.LAUNCHED) in reasons.REFUSALS or _is_given_up(observed)
    if not is_final or falls_back(observed) or has_changed(observed):
        return None
    return _not_yet(observed, now, TERMINAL_SECONDS)


def waiting(observed: Observed, now: datetime) -> Decision | None:
    """Row 4: the moment of the next try has not come, and nothing has changed since the last."""
    seconds = observed.last.seconds_left(now)
    is_asked_for = bool(observed.last.attempt.delays)
    if not seconds or (not is_asked_for and (falls_back(observed) or has_changed(observed))):
        return None
    return _not_yet(observed, now, seconds)


def has_changed(observed: Observed) -> bool:
    """Whether a person, or the operator's settings, ask for something else than the last try did.

    Nobody's delay is overtaken by that: the provider counts the requests all the same.
    """
    last, attempt = observed.last, observed.last.attempt
    failure = last.failure
    if failure is None or failure.reason in reasons.DELAYS or attempt.delays:
        return False
    return (
        last.generation(types.LAUNCHED) != observed.machine.generation
        or attempt.retry != observed.machine.retry
        or bool(attempt.digest and observed.digest and attempt.digest != observed.digest)
    )


def given_up(observed: Observed, now: datetime) -> Decision | None:
    """Row 5, first half: the provider took back what it had accepted, and says why."""
    pool = observed.pool
    if not isinstance(pool, Absent) or pool.why is None or observed.last.pool is None:
        return None
    return _denied(observed, now, pool.why, ended(observed.last.attempt, now, pool.why))


def create(observed: Observed, now: datetime) -> Decision:
    """Row 6: the finalizer is there, so nothing that is made now can be forgotten."""
    if not observed.machine.has_finalizer:
        conditions = not_launched(
            reasons.AWAITING_FINALIZER,
            "The Machine has no finalizer of Metacontroller yet: nothing is created before.",
        )
        return answer(observed, now, FINALIZER_SECONDS, conditions, observed.last.without_pool())
    return preflight.check(observed, now) or CreatePool(
        replace(wanted_pool(observed.machine, now), is_spot=is_spot_next(observed))
    )


def outcome(observed: Observed, now: datetime) -> Decision | None:
    """Row 6a, 6b, 6c, 6d, 6e, 6f or 6g: what the provider said to the request."""
    found = observed.outcome
    if isinstance(found, Created | Underway):
        return _started(observed, now, found.state if isinstance(found, Created) else "")
    return _refusal(observed, now, found) if isinstance(found, ProviderError) else None


def _refusal(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    match error:
        case AlreadyExists():
            return _look_again(observed, now, error, observed.last.attempt)
        case Unanswered():
            return _look_again(observed, now, error, tried(observed, now))
        case Indeterminate():
            return not_known(observed, now, error)
        case Delay():
            return _delayed(observed, now, error)
    return _denied(observed, now, error, ended(tried(observed, now), now, error))


def _started(observed: Observed, now: datetime, state: str) -> Answer:
    conditions = not_launched(*progress(observed.machine.size))
    status = observed.last.with_pool(PoolStatus(observed.machine.ref.name, state))
    status = replace(status, attempt=tried(observed, now))
    return answer(observed, now, POLL_SECONDS, conditions, status)


def _look_again(
    observed: Observed, now: datetime, error: ProviderError, attempt: Attempt
) -> Answer:
    """There may be a pool now: it is named, so that its absence would have to be proven."""
    conditions = not_launched(error.reason, error.message(observed.machine.size), unknown=True)
    status = observed.last.with_pool(PoolStatus(observed.machine.ref.name))
    return answer(observed, now, error.wait, conditions, replace(status, attempt=attempt))


def _delayed(observed: Observed, now: datetime, error: Delay) -> Answer:
    """Not a failure, so not counted as a try; what failed before it is still the reason."""
    delays = observed.last.attempt.delays + 1
    seconds = error.wait_after(delays)
    attempt = replace(until(observed.last.attempt, now, seconds), delays=delays)
    last = replace(observed.last, attempt=attempt)
    if last.failure is not None and last.failure.reason not in reasons.DELAYS:
        return _not_yet(replace(observed, last=last), now, seconds)
    conditions = not_launched(error.reason, error.message(observed.machine.size))
    status = replace(last.without_pool(), error=last_error(observed, error))
    return answer(observed, now, seconds, conditions, status)


def _denied(observed: Observed, now: datetime, error: ProviderError, attempt: Attempt) -> Answer:
    """Why there is no node; asked again when its time has come, unless it is final."""
    is_final = isinstance(error, Terminal)
    if is_final:
        attempt = replace(attempt, retry_after=None)
    conditions = not_launched(error.reason, error.message(observed.machine.size))
    status = replace(
        observed.last.without_pool(), attempt=attempt, error=last_error(observed, error)
    )
    seconds = TERMINAL_SECONDS if is_final else attempt.seconds_left(now)
    return answer(observed, now, seconds, conditions, status)


def _is_given_up(observed: Observed) -> bool:
    failure, attempt = observed.last.failure, observed.last.attempt
    return (
        failure is not None and liveness.is_given_up(attempt) and failure.reason == attempt.reason
    )


def _not_yet(observed: Observed, now: datetime, seconds: int) -> Answer:
    """The reason of the last failure, as long as nothing new is known."""
    before = observed.last.failure
    if before is None:
        return keep(observed, now, seconds)
    conditions = not_launched(before.reason, before.message, given_up=_is_given_up(observed))
    return answer(observed, now, seconds, conditions, observed.last.without_node())
