"""Getting rid of a pool that will never have a node, and saying why the next one is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.machine.hints import PoolHint
from kaito_hooks.machine.phases import not_launched
from kaito_hooks.machine.provider import Ours
from kaito_hooks.machine.status import answer, last_error, until
from kaito_hooks.machine.steps import Deleted, DeletePool, Observed, ReadPool, Step
from kaito_hooks.machine.trouble import PoolFailed, ProviderError

POLL_SECONDS = 30


def failure(pool: Ours) -> ProviderError:
    """Why the pool failed, as far as it says."""
    return pool.error or PoolFailed(pool.state)


def delete(observed: Observed, now: datetime, why: ProviderError) -> Step:
    """Row 8: delete first, try again later; the owner reads the reason all the while."""
    pool = observed.pool
    if not isinstance(pool, Ours):
        raise TypeError("only a pool that is ours may be deleted")
    if not observed.is_fresh:
        return ReadPool(fresh=True)
    if observed.outcome is None and pool.etag:
        return DeletePool(pool.etag)
    attempt = until(observed.hints.attempt, now, why.wait)
    says = not_launched(why.reason, why.message(observed.machine.size))
    error = last_error(observed, why)
    if isinstance(observed.outcome, Deleted):
        gone = PoolHint(observed.machine.ref.name, "Deleting")
        return answer(observed, now, POLL_SECONDS, says, pool=gone, attempt=attempt, error=error)
    seconds = POLL_SECONDS
    if isinstance(observed.outcome, ProviderError):
        seconds = max(observed.outcome.wait, 1)
    return answer(
        observed, now, seconds, says, pool=pool, attempt=observed.hints.attempt, error=error
    )


def setback(observed: Observed, reason: str, message: str) -> Sequence[Condition]:
    """What to say while no pool is there: the failure that led to it, else the given words."""
    said = observed.hints.failure
    return not_launched(said.reason, said.message) if said else not_launched(reason, message)
