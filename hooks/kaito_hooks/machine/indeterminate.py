"""When nothing is known: nothing is changed, and nothing is asked too often."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine.actions import Answer, Decision, Observed
from kaito_hooks.machine.conditions import as_before
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Unknown
from kaito_hooks.machine.status import answer, last_error, until
from kaito_hooks.machine.timing import LONGEST_OUTAGE_WAIT, SHORTEST_OUTAGE_WAIT


def paused(observed: Observed, now: datetime) -> Decision | None:
    """Row 2, later: nothing is asked before the moment that the last error named."""
    seconds = seconds_paused(observed, now)
    return keep(observed, now, seconds) if seconds else None


def seconds_paused(observed: Observed, now: datetime) -> int:
    """Until something may be asked; 0 when it may be now."""
    if observed.pool is None and observed.last.is_true(types.PROVIDER_TROUBLE):
        return observed.last.seconds_left(now)
    return 0


def unknown(observed: Observed, now: datetime) -> Decision | None:
    """Row 2: all conditions stay, with the error beside them."""
    if isinstance(observed.pool, Unknown):
        return not_known(observed, now, observed.pool.error)
    return None


def keep(observed: Observed, now: datetime, seconds: float) -> Answer:
    """The status as it is, read and written again."""
    return answer(observed, now, seconds, as_before(observed), observed.last)


def not_known(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """The status as it is, with the error; the longer it lasts, the rarer the tries."""
    last = observed.last
    attempt = until(last.attempt, now, wait(observed, now, error))
    if last.seconds_left(now) and last.attempt.retry_after and attempt.retry_after:
        # An outage does not shorten the wait that a failure asked for.
        attempt = replace(attempt, retry_after=max(attempt.retry_after, last.attempt.retry_after))
    status = replace(last, attempt=attempt, error=last_error(observed, error))
    return answer(observed, now, attempt.seconds_left(now), as_before(observed, error), status)


def wait(observed: Observed, now: datetime, error: ProviderError) -> int:
    """As the server asks, else as long as the outage has lasted, which doubles."""
    if error.retry_after is not None:
        return error.wait
    since = None
    if observed.last.is_true(types.PROVIDER_TROUBLE):
        since = observed.last.since(types.PROVIDER_TROUBLE)
    lasted = int((now - since).total_seconds()) if since else 0
    return min(max(lasted, error.wait_seconds, SHORTEST_OUTAGE_WAIT), LONGEST_OUTAGE_WAIT)
