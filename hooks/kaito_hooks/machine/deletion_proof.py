"""Proof that a pool is gone. One 404 is none: reads lag, requests come late, proxies lie.

It takes the pool itself absent, and a complete list of a living cluster without it, both read in one
call, and the same again at least 45 seconds later (aks.md 5.4).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine import liveness, reasons
from kaito_hooks.machine.actions import ListPools, Observed, Step
from kaito_hooks.machine.errors import MadeElsewhere, ProviderError, Unreadable
from kaito_hooks.machine.indeterminate import keep, not_known
from kaito_hooks.machine.last_status import PoolHint
from kaito_hooks.machine.provider import Absent, Unknown
from kaito_hooks.machine.status import answer

SOON_SECONDS = 1
TWICE_APART = timedelta(seconds=45)
"""Longer than a request can be held up on its way and still be carried out (measured: 5 to 40 s)."""


def recheck(observed: Observed, now: datetime) -> Step | None:
    """Row 5: a pool that was there is looked for twice before another one is made."""
    hint = observed.hints.pool
    if hint is None:
        return None
    if hint.state:  # Finding that out may have taken requests that the proof needs.
        unseen = replace(observed.hints, pool=PoolHint(hint.name))
        return keep(replace(observed, hints=unseen), now, SOON_SECONDS)
    if observed.listing is None:
        return ListPools()
    doubt = doubt_of(observed)
    if doubt is not None:
        return not_known(observed, now, doubt)
    left = seconds_left(observed, now)
    says = liveness.setback(
        observed,
        reasons.POOL_MISSING,
        "The node is gone; another one is created when that is certain.",
    )
    if left == 0:  # This call has asked enough; the next one starts from nothing.
        hints = observed.hints
        return answer(observed, now, SOON_SECONDS, says, attempt=hints.attempt, error=hints.error)
    return answer(
        observed,
        now,
        left,
        says,
        pool=observed.hints.pool,
        attempt=observed.hints.attempt,
        error=observed.hints.error,
        absent_since=since(observed, now),
    )


def doubt_of(observed: Observed) -> ProviderError | None:
    """Why the list does not prove that no pool of the Machine's name is its own."""
    listing, ref = observed.listing, observed.machine.ref
    if listing is None or isinstance(listing, Unknown):
        return listing.error if listing else Unreadable()
    if listing.is_of_nobody and observed.hints.pool is not None:
        return MadeElsewhere()
    if not listing.is_trusted:
        return Unreadable(detail="The list of nodes is not that of a living cluster.")
    listed = listing.find(ref.name)
    if listed and (ref.uid in listed.uids or isinstance(observed.pool, Absent)):
        return Unreadable(detail="The node is in the list, but can't be read.")
    return None


def since(observed: Observed, now: datetime) -> datetime:
    """When it was first seen absent; an impossible moment counts as now."""
    claimed, deleted = observed.hints.absent_since, observed.machine.deleted_at
    if claimed is None or claimed > now or (deleted and claimed < deleted):
        return whole_second(now)
    return claimed


def seconds_left(observed: Observed, now: datetime) -> int:
    """Until the absence is certain, if it is seen again then."""
    left = since(observed, now) + TWICE_APART - now
    return max(-int(-left.total_seconds() // 1), 0)
