"""How a pool is deleted, whoever wants it gone: as it was read, and never while Azure is at work on it."""

from __future__ import annotations

from datetime import datetime, timedelta

from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Call, Deleted, DeletePool, Observed, ReadOperation
from kaito_hooks.machine.denied import Forbidden
from kaito_hooks.machine.errors import Busy, EtagMismatch, ProviderError
from kaito_hooks.machine.provider import Ours, Unknown

POLL_SECONDS = 15
LONGEST_SECONDS = 300
"""Between two tries, whatever the trouble: a node is paid for meanwhile."""
MISMATCHES_FOR = timedelta(minutes=2)
"""After that, an etag that never matches, or is not told, must not keep a paid node alive (aks.md F4b)."""
UNREADABLE_FOR = timedelta(minutes=10)
"""After that, an identity that may not read the cluster goes by the state of the pool alone."""


def next_call(observed: Observed, now: datetime) -> Call | Deleted | ProviderError:
    """The next request, that the deletion was accepted, or what keeps it from being asked for.

    A pool that is deleted while AKS starts or upgrades it has left whole clusters in state Failed
    (kaito-project/kaito#2075): AKS accepts the DELETE, and it preempts the operation.
    """
    pool = observed.pool
    if not isinstance(pool, Ours):
        raise TypeError("only a pool that is ours may be deleted")
    match observed.outcome:
        case Deleted() | ProviderError() as outcome:
            return outcome
    if pool.operation:
        return Busy(detail=f"The agent pool is in state {pool.operation}.")
    match observed.operation:
        case None:
            return ReadOperation()
        case Unknown(error):
            lacks_right = isinstance(error, Forbidden)
            if not lacks_right or not _lasts(observed, now, reasons.FORBIDDEN, UNREADABLE_FOR):
                return error
        case str(state) if state:
            return Busy(detail=f"The cluster is in state {state}.")
    never_matches = _never_matches(observed, now)
    if not pool.etag and not never_matches:
        return EtagMismatch(detail="What was read of the node has no version.")
    return DeletePool("" if never_matches else pool.etag)


def seconds_until_next(observed: Observed, error: ProviderError) -> int:
    """Until it is asked for again: an etag that did not match is read anew at once, the second time later."""
    if isinstance(error, EtagMismatch):
        last = observed.hints.error
        return POLL_SECONDS if last and last.reason == reasons.ETAG_MISMATCH else error.wait
    return min(error.wait, LONGEST_SECONDS)


def _never_matches(observed: Observed, now: datetime) -> bool:
    return _lasts(observed, now, reasons.ETAG_MISMATCH, MISMATCHES_FOR)


def _lasts(observed: Observed, now: datetime, reason: str, limit: timedelta) -> bool:
    """Whether there has been trouble for so long, and that was the last one."""
    hints = observed.hints
    since = (
        hints.since(reasons.PROVIDER_TROUBLE) if hints.is_true(reasons.PROVIDER_TROUBLE) else None
    )
    is_last = hints.error is not None and hints.error.reason == reason
    return since is not None and now - since >= limit and is_last
