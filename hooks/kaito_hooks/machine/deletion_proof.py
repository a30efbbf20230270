"""Proof that a pool is gone. One 404 is none: reads lag, requests come late, proxies lie.

It takes the pool itself absent, and a complete list of a living cluster without it, both read in one
call, and the same again at least 45 seconds later.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine import liveness, reasons
from kaito_hooks.machine.actions import Decision, ListPools, Observed
from kaito_hooks.machine.errors import MadeElsewhere, ProviderError, Unreadable
from kaito_hooks.machine.indeterminate import keep, not_known
from kaito_hooks.machine.last_status import PoolStatus
from kaito_hooks.machine.provider import Absent, Unknown
from kaito_hooks.machine.status import answer
from kaito_hooks.machine.timing import ABSENT_TWICE, SOON_SECONDS


def recheck(observed: Observed, now: datetime) -> Decision | None:
    """Row 5: a pool that was there is looked for twice before another one is made."""
    last = observed.last
    if last.pool is None:
        return None
    if last.pool.state:  # Finding that out may have taken requests that the proof needs.
        unseen = replace(last, pool=PoolStatus(last.pool.name))
        return keep(replace(observed, last=unseen), now, SOON_SECONDS)
    if observed.listing is None:
        return ListPools()
    doubt = doubt_of(observed)
    if doubt is not None:
        return not_known(observed, now, doubt)
    left = seconds_left(observed, now)
    conditions = liveness.setback(
        observed,
        reasons.POOL_MISSING,
        "The node is gone; another one is created when that is certain.",
    )
    if left == 0:  # This call has asked enough; the next one starts from nothing.
        status = replace(last.without_pool(), error=last.error)
        return answer(observed, now, SOON_SECONDS, conditions, status)
    status = replace(last.without_node(), absent_since=since(observed, now))
    return answer(observed, now, left, conditions, status)


def doubt_of(observed: Observed) -> ProviderError | None:
    """Why the list does not prove that no pool of the Machine's name is its own."""
    listing, ref, error = observed.listing, observed.machine.ref, observed.profile.error
    if listing is None or isinstance(listing, Unknown):
        return listing.error if listing else error(Unreadable)
    if listing.is_of_nobody and observed.last.pool is not None:
        return error(MadeElsewhere)
    if not listing.is_trusted:
        return error(Unreadable, detail="The list of nodes is not that of a living cluster.")
    listed = listing.find(ref.name)
    if listed and (ref.uid in listed.uids or isinstance(observed.pool, Absent)):
        return error(Unreadable, detail="The node is in the list, but can't be read.")
    return None


def since(observed: Observed, now: datetime) -> datetime:
    """When it was first seen absent; an impossible moment counts as now."""
    claimed, deleted = observed.last.absent_since, observed.machine.deleted_at
    if claimed is None or claimed > now or (deleted and claimed < deleted):
        return whole_second(now)
    return claimed


def seconds_left(observed: Observed, now: datetime) -> int:
    """Until the absence is certain, if it is seen again then."""
    left = since(observed, now) + ABSENT_TWICE - now
    return max(-int(-left.total_seconds() // 1), 0)
