"""The next status of a Machine, always complete: Metacontroller replaces the whole.

It begins with the last one, so that a fact goes only where somebody takes it away. Nothing in it moves by itself,
since a status that changes is synced again at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from kaito_hooks.kube.conditions import Condition, stamp, timestamp
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine.actions import Answer, Observed
from kaito_hooks.machine.capacity_type import REGULAR, SPOT, is_spot_next
from kaito_hooks.machine.errors import MESSAGE_LIMIT, ProviderError
from kaito_hooks.machine.last_status import Attempt, LastError, MachineStatus, PoolStatus
from kaito_hooks.machine.nodes import Node
from kaito_hooks.machine.provider import Ours
from kaito_hooks.machine.timing import JITTER


def answer(
    observed: Observed,
    now: datetime,
    resync_seconds: float,
    conditions: Sequence[Condition],
    status: MachineStatus,
) -> Answer:
    """The complete status: these conditions, and of the last status what it says now."""
    ref = observed.machine.ref
    found: Manifest = {
        "conditions": stamp(conditions, status.conditions, now, observed.machine.generation),
        **status.node,
        **_pool(ref.name, status.pool),
        **_attempt(status.attempt),
        **_error(status.error),
    }
    if status.absent_since is not None:
        found["absentSince"] = timestamp(status.absent_since)
    return Answer(found, spread(resync_seconds, ref.uid))


def seen(observed: Observed, pool: Ours, node: Node | None = None) -> MachineStatus:
    """The last status, now that the pool was seen, with its node where it has one."""
    shown = PoolStatus(observed.machine.ref.name, pool.state)
    return observed.last.with_pool(shown, node.fields() if node else None)


def last_error(observed: Observed, error: ProviderError) -> LastError:
    """The error as status shows it."""
    return LastError(error.reason, error.code, error.message(observed.machine.size))


def tried(observed: Observed, now: datetime) -> Attempt:
    """One more try."""
    before = observed.last.attempt
    first = before.first_at if before.count and before.first_at else now
    return replace(asked(observed), count=before.count + 1, first_at=first)


def asked(observed: Observed) -> Attempt:
    """The tries so far, with what is asked for now; nothing is waited for any more."""
    return replace(
        observed.last.attempt,
        retry_after=None,
        delays=0,
        retry=observed.machine.retry,
        priority=SPOT if is_spot_next(observed) else REGULAR,
        digest=observed.digest[:64],
    )


def ended(attempt: Attempt, now: datetime, error: ProviderError) -> Attempt:
    """That try gave no node: the next one comes the later, the more in a row have ended so."""
    in_a_row = attempt.in_a_row + 1 if attempt.reason == error.reason else 1
    attempt = replace(attempt, reason=error.reason, in_a_row=in_a_row)
    return until(attempt, now, error.wait_after(in_a_row))


def until(attempt: Attempt, now: datetime, seconds: int) -> Attempt:
    """No call for so many seconds."""
    return replace(attempt, retry_after=whole_second(now + timedelta(seconds=seconds)))


def spread(seconds: float, uid: str) -> float:
    """A little later for each Machine, always the same for one; never earlier, as servers ask."""
    share = zlib.crc32(uid.encode(errors="replace")) / 0xFFFFFFFF
    return round(seconds * (1 + JITTER * share), 1)


def _pool(name: str, pool: PoolStatus | None) -> Manifest:
    if pool is None:
        return {}
    state = {"provisioningState": pool.state[:63]} if pool.state else {}
    return {"pool": {"name": name, **state}}


def _attempt(attempt: Attempt) -> Manifest:
    if attempt == Attempt():
        return {}
    found: Manifest = {"count": attempt.count}
    for key, moment in (
        ("firstAt", attempt.first_at),
        ("retryAfter", attempt.retry_after),
        ("failedPool", attempt.failed_pool),
    ):
        if moment:
            found[key] = timestamp(moment)
    for key, value in (
        ("retry", attempt.retry),
        ("priority", attempt.priority),
        ("reason", attempt.reason[:64]),
        ("inARow", attempt.in_a_row),
        ("delays", attempt.delays),
        ("digest", attempt.digest[:64]),
    ):
        if value:
            found[key] = value
    return {"attempt": found}


def _error(error: LastError | None) -> Manifest:
    if error is None:
        return {}
    message = error.message[:MESSAGE_LIMIT]
    return {"lastError": {"class": error.reason[:64], "code": error.code[:128], "message": message}}
