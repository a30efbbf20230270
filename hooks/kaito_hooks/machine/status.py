"""The status of a Machine, always complete: Metacontroller replaces the whole.

Nothing in it moves by itself, since a status that changes is synced again at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kaito_hooks.kube.conditions import Condition, stamp, timestamp
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.kube.times import whole_second
from kaito_hooks.machine.actions import Answer, Observed
from kaito_hooks.machine.capacity_type import next_priority
from kaito_hooks.machine.errors import MESSAGE_LIMIT, ProviderError
from kaito_hooks.machine.last_status import Attempt, LastError, PoolHint
from kaito_hooks.machine.nodes import Node
from kaito_hooks.machine.provider import Ours

JITTER = 0.2
"""Share by which waits differ from Machine to Machine, so that many do not come at once."""


def answer(
    observed: Observed,
    now: datetime,
    resync_seconds: float,
    conditions: Sequence[Condition],
    *,
    pool: Ours | PoolHint | None = None,
    attempt: Attempt | None = None,
    error: LastError | None = None,
    absent_since: datetime | None = None,
    node: Node | Mapping[str, Any] | None = None,
    finalized: bool = False,
) -> Answer:
    """The complete status; what is not given is not there."""
    machine = observed.machine
    status: Manifest = {
        "conditions": stamp(conditions, observed.hints.conditions, now, machine.generation),
        **_node(node),
        **_pool(machine.ref.name, pool),
        **_attempt(attempt),
        **_error(error),
    }
    if absent_since is not None:
        status["absentSince"] = timestamp(absent_since)
    return Answer(status, spread(resync_seconds, machine.ref.uid), finalized)


def last_error(observed: Observed, error: ProviderError) -> LastError:
    """The trouble as status shows it."""
    return LastError(error.reason, error.code, error.message(observed.machine.size))


def tried(observed: Observed, now: datetime) -> Attempt:
    """One more try."""
    before = observed.hints.attempt
    first = before.first_at if before.count and before.first_at else now
    return replace(
        asked(observed), count=before.count + 1, first_at=first, retry_after=None, delays=0
    )


def asked(observed: Observed) -> Attempt:
    """The tries so far, with what is asked for now."""
    return replace(
        observed.hints.attempt,
        retry=observed.machine.retry,
        priority=next_priority(observed),
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


def _node(node: Node | Mapping[str, Any] | None) -> Manifest:
    if isinstance(node, Node):
        found: Mapping[str, Any] = {
            "nodeName": node.name,
            "providerID": node.provider_id,
            "capacity": node.amounts("capacity"),
            "allocatable": node.amounts("allocatable"),
        }
        return {key: value for key, value in found.items() if value}
    return dict(node or {})


def _pool(name: str, pool: Ours | PoolHint | None) -> Manifest:
    if pool is None:
        return {}
    state = {"provisioningState": pool.state[:63]} if pool.state else {}
    return {"pool": {"name": name, **state}}


def _attempt(attempt: Attempt | None) -> Manifest:
    if attempt is None or attempt == Attempt():
        return {}
    found: Manifest = {"count": attempt.count}
    if attempt.first_at:
        found["firstAt"] = timestamp(attempt.first_at)
    if attempt.retry_after:
        found["retryAfter"] = timestamp(attempt.retry_after)
    if attempt.failed_pool:
        found["failedPool"] = timestamp(attempt.failed_pool)
    if attempt.retry:
        found["retry"] = attempt.retry
    for key, word in (
        ("priority", attempt.priority),
        ("reason", attempt.reason[:64]),
        ("inARow", attempt.in_a_row),
        ("delays", attempt.delays),
        ("digest", attempt.digest[:64]),
    ):
        if word:
            found[key] = word
    return {"attempt": found}


def _error(error: LastError | None) -> Manifest:
    if error is None:
        return {}
    message = error.message[:MESSAGE_LIMIT]
    return {"lastError": {"class": error.reason[:64], "code": error.code[:128], "message": message}}
