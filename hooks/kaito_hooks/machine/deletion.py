"""How a pool is deleted, whoever wants it gone: as it was read, and never while the provider is at work on it."""

from __future__ import annotations

from datetime import datetime, timedelta

from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Action, Deleted, DeletePool, Observed, ReadOperation
from kaito_hooks.machine.errors import Busy, EtagMismatch, Forbidden, ProviderError
from kaito_hooks.machine.provider import Ours, Unknown
from kaito_hooks.machine.timing import (
    LONGEST_DELETION_WAIT,
    MISMATCHES_FOR,
    POLL_SECONDS,
    UNREADABLE_FOR,
)


def next_action(observed: Observed, now: datetime) -> Action | Deleted | ProviderError:
    """The next request, that the deletion was accepted, or what keeps it from being asked for.

    A pool that is deleted while the provider starts or upgrades it has left whole clusters in state Failed
    (kaito-project/kaito#2075): the deletion is accepted, and it preempts the operation.
    """
    pool = observed.own_pool
    if isinstance(observed.outcome, Deleted | ProviderError):
        return observed.outcome
    if observed.operation is None and not pool.operation:
        return ReadOperation()
    error, never_matches = _in_the_way(observed, pool, now), _never_matches(observed, now)
    if error is None and not pool.etag and not never_matches:
        error = observed.profile.error(
            EtagMismatch, detail="What was read of the node has no version."
        )
    return error or DeletePool("" if never_matches else pool.etag)


def seconds_until_next(observed: Observed, error: ProviderError) -> int:
    """Until it is asked for again: an etag that did not match is read anew at once, the second time later."""
    if isinstance(error, EtagMismatch):
        last = observed.last.error
        return POLL_SECONDS if last and last.reason == reasons.ETAG_MISMATCH else error.wait
    return min(error.wait, LONGEST_DELETION_WAIT)


def _in_the_way(observed: Observed, pool: Ours, now: datetime) -> ProviderError | None:
    """An operation on the pool or the cluster; or that it is not known whether there is one."""
    profile = observed.profile
    if pool.operation:
        return profile.error(Busy, detail=f"The {profile.pool} is in state {pool.operation}.")
    match observed.operation:
        case Unknown(error):
            lacks_right = isinstance(error, Forbidden)
            is_passed_over = lacks_right and _lasts(
                observed, now, reasons.FORBIDDEN, UNREADABLE_FOR
            )
            return None if is_passed_over else error
        case str(state) if state:
            return profile.error(Busy, detail=f"The cluster is in state {state}.")
    return None


def _never_matches(observed: Observed, now: datetime) -> bool:
    return _lasts(observed, now, reasons.ETAG_MISMATCH, MISMATCHES_FOR)


def _lasts(observed: Observed, now: datetime, reason: str, limit: timedelta) -> bool:
    """Whether deleting has failed for so long, and that was the last error."""
    last = observed.last
    since = last.since(types.PROVIDER_TROUBLE) if last.is_true(types.PROVIDER_TROUBLE) else None
    is_last = last.error is not None and last.error.reason == reason
    return since is not None and now - since >= limit and is_last
