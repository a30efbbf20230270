"""Before the first PUT: does the region offer the size, and is there quota for it? (row 6, first half)"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Answer, Observed, ReadQuotas, ReadSizes, Step
from kaito_hooks.machine.capacity_type import SPOT, next_priority
from kaito_hooks.machine.catalog import quota_trouble, size_trouble
from kaito_hooks.machine.conditions import not_launched
from kaito_hooks.machine.denied import Refused
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.liveness import setback
from kaito_hooks.machine.provider import Unknown
from kaito_hooks.machine.status import answer, asked, last_error, until

SOON_SECONDS = 1


def check(observed: Observed, now: datetime) -> Step | None:
    """The next look, or the refusal; None when nothing speaks against the request."""
    sizes, quotas, wanted = observed.sizes, observed.quotas, observed.machine.size
    if sizes is None:
        return ReadSizes()
    if isinstance(sizes, Unknown):
        return None
    if sizes.is_fresh:  # The list is long: the call that reads it does nothing else.
        return _checking(observed, now)
    trouble = size_trouble(sizes, wanted)
    if trouble is None and quotas is None:
        return ReadQuotas()
    if trouble is None and quotas is not None and not isinstance(quotas, Unknown):
        trouble = quota_trouble(sizes, quotas, wanted, next_priority(observed) == SPOT)
    return _refused(observed, now, trouble) if trouble else None


def _checking(observed: Observed, now: datetime) -> Answer:
    """What failed before is said meanwhile: that it is looked up again is no news."""
    hints = observed.hints
    says = setback(
        observed,
        reasons.CHECKING_OFFER,
        f"It is being looked up whether {observed.machine.size} is offered here, and the quota.",
        unknown=True,
    )
    return answer(
        observed,
        now,
        SOON_SECONDS,
        says,
        attempt=hints.attempt,
        error=hints.error,
        absent_since=hints.absent_since,
    )


def _refused(observed: Observed, now: datetime, trouble: ProviderError) -> Answer:
    """Nothing was asked for, so no try is counted."""
    attempt = replace(asked(observed), retry_after=None, delays=0)
    if not isinstance(trouble, Refused):
        attempt = until(attempt, now, trouble.wait)
    return answer(
        observed,
        now,
        trouble.wait,
        not_launched(trouble.reason, trouble.message(observed.machine.size)),
        attempt=attempt,
        error=last_error(observed, trouble),
    )
