"""When nothing is known: nothing is changed, and nothing is asked too often."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Answer, Observed, Step
from kaito_hooks.machine.conditions import as_before
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Unknown
from kaito_hooks.machine.status import answer, last_error, until

SHORTEST_WAIT, LONGEST_WAIT = 15, 300
"""Seconds between two tries while a trouble lasts, when the server names none."""


def paused(observed: Observed, now: datetime) -> Step | None:
    """Row 2, later: nothing is asked before the moment that the last trouble named."""
    seconds = seconds_paused(observed, now)
    return keep(observed, now, seconds) if seconds else None


def seconds_paused(observed: Observed, now: datetime) -> int:
    """Until something may be asked; 0 when it may be now."""
    if observed.pool is None and observed.hints.is_true(reasons.PROVIDER_TROUBLE):
        return observed.hints.seconds_left(now)
    return 0


def unknown(observed: Observed, now: datetime) -> Step | None:
    """Row 2: all conditions stay, with the trouble beside them."""
    if isinstance(observed.pool, Unknown):
        return not_known(observed, now, observed.pool.error)
    return None


def keep(observed: Observed, now: datetime, seconds: float) -> Answer:
    """The status as it is, read and written again."""
    hints = observed.hints
    return answer(
        observed,
        now,
        seconds,
        as_before(observed),
        pool=hints.pool,
        attempt=hints.attempt,
        error=hints.error,
        absent_since=hints.absent_since,
        node=hints.node,
    )


def not_known(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """The status as it is, with the trouble; the longer it lasts, the rarer the tries."""
    hints = observed.hints
    attempt = until(hints.attempt, now, wait(observed, now, error))
    if hints.seconds_left(now) and hints.attempt.retry_after and attempt.retry_after:
        # A trouble does not shorten the wait that a failure asked for.
        attempt = replace(attempt, retry_after=max(attempt.retry_after, hints.attempt.retry_after))
    return answer(
        observed,
        now,
        attempt.seconds_left(now),
        as_before(observed, error),
        pool=hints.pool,
        attempt=attempt,
        error=last_error(observed, error),
        absent_since=hints.absent_since,
        node=hints.node,
    )


def wait(observed: Observed, now: datetime, error: ProviderError) -> int:
    """As the server asks, else as long as the trouble has lasted, which doubles."""
    if error.retry_after is not None:
        return error.wait
    since = None
    if observed.hints.is_true(reasons.PROVIDER_TROUBLE):
        since = observed.hints.since(reasons.PROVIDER_TROUBLE)
    lasted = int((now - since).total_seconds()) if since else 0
    return min(max(lasted, error.wait_seconds, SHORTEST_WAIT), LONGEST_WAIT)
