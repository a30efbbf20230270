"""Before a pool is asked for: could such a node be made here? (row 6, first half)"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Answer, CheckAvailability, Decision, Observed
from kaito_hooks.machine.capacity_type import is_spot_next
from kaito_hooks.machine.conditions import not_launched
from kaito_hooks.machine.errors import ProviderError, Terminal
from kaito_hooks.machine.liveness import setback
from kaito_hooks.machine.provider import Unknown
from kaito_hooks.machine.status import answer, asked, last_error, until
from kaito_hooks.machine.timing import SOON_SECONDS


def check(observed: Observed, now: datetime) -> Decision | None:
    """The next look, or the refusal; None when nothing speaks against the request."""
    found = observed.availability
    if found is None:
        return CheckAvailability(observed.machine.size, is_spot_next(observed))
    if isinstance(found, Unknown):
        return None
    if not found.is_complete:  # The call that reads a long list does nothing else.
        return _checking(observed, now)
    return _refused(observed, now, found.error) if found.error else None


def _checking(observed: Observed, now: datetime) -> Answer:
    """What failed before is said meanwhile: that it is looked up again is no news."""
    last = observed.last
    conditions = setback(
        observed,
        reasons.CHECKING_OFFER,
        f"Checking whether {observed.machine.size} is available here, and the quota.",
        unknown=True,
    )
    status = replace(last.without_pool(), error=last.error, absent_since=last.absent_since)
    return answer(observed, now, SOON_SECONDS, conditions, status)


def _refused(observed: Observed, now: datetime, error: ProviderError) -> Answer:
    """Nothing was asked for, so no try is counted."""
    attempt = asked(observed)
    if not isinstance(error, Terminal):
        attempt = until(attempt, now, error.wait)
    conditions = not_launched(error.reason, error.message(observed.machine.size))
    status = replace(
        observed.last.without_pool(), attempt=attempt, error=last_error(observed, error)
    )
    return answer(observed, now, error.wait, conditions, status)
