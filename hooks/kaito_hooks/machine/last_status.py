"""The status as it was written last, from which the next one begins: hints, never facts.

A person may have edited it, a backup may have brought it back, and a stale cache may show an older
one. So it can only delay a call, or word an answer; what exists is asked of the provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, get_args

from kaito_hooks.kube.conditions import Condition, Status, find, is_true
from kaito_hooks.kube.objects import Manifest, mapping, number, sequence, text
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import reasons
from kaito_hooks.machine.timing import LONGEST_WAIT


@dataclass(frozen=True, slots=True)
class Attempt:
    """Tries to create the pool."""

    count: int = 0
    first_at: datetime | None = None
    retry_after: datetime | None = None
    """No call before that moment."""
    retry: str = ""
    """The annotation kaito.sh/retry at the last try."""
    priority: str = ""
    """Spot or Regular: what the last try asked for."""
    reason: str = ""
    """Why the last try gave no node."""
    in_a_row: int = 0
    """How many tries in a row ended with that reason."""
    failed_pool: datetime | None = None
    """When the pool that failed last had been asked for: it is counted once."""
    delays: int = 0
    """How many answers in a row asked to come later."""
    digest: str = ""
    """Of what the last try asked for."""

    def seconds_left(self, now: datetime) -> int:
        """Until the next call, rounded up."""
        if self.retry_after is None or self.retry_after - now > LONGEST_WAIT:
            return 0
        return max(-int((now - self.retry_after).total_seconds() // 1), 0)


@dataclass(frozen=True, slots=True)
class LastError:
    """The last error of the provider."""

    reason: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool was asked for or seen."""

    name: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """What the status says of earlier calls."""

    conditions: Sequence[Any]
    attempt: Attempt
    pool: PoolStatus | None
    error: LastError | None
    absent_since: datetime | None
    node: Mapping[str, Any]
    """nodeName, providerID, capacity and allocatable, as they stand."""

    def with_pool(self, pool: PoolStatus, node: Mapping[str, Any] | None = None) -> MachineStatus:
        """A pool was asked for or seen, so nothing is missing or wrong; with its node, where that is known."""
        return replace(self, pool=pool, node=node or {}, error=None, absent_since=None)

    def without_pool(self) -> MachineStatus:
        """There is no pool, and nothing is known to be wrong."""
        return replace(self, pool=None, node={}, error=None, absent_since=None)

    def without_node(self) -> MachineStatus:
        """All the rest is as before."""
        return replace(self, node={})

    def is_true(self, type_: str) -> bool:
        """Whether that condition is True."""
        return is_true(self.conditions, type_)

    def since(self, type_: str) -> datetime | None:
        """Since when that condition is as it is."""
        return parse_timestamp(find(self.conditions, type_).get("lastTransitionTime"))

    def reason(self, type_: str) -> str:
        """Why that condition is as it is."""
        return text(find(self.conditions, type_).get("reason"))

    def generation(self, type_: str) -> int:
        """Of which generation that condition speaks."""
        return number(find(self.conditions, type_).get("observedGeneration"))

    def condition(self, type_: str) -> Condition | None:
        """That condition, unless it is missing or malformed."""
        found = find(self.conditions, type_)
        reason, message = text(found.get("reason")), text(found.get("message"))
        for status in get_args(Status):
            if found.get("status") == status and reason:
                return Condition(type_, status, reason, message)
        return None

    @property
    def failure(self) -> Condition | None:
        """Why there is no pool, if that was a failure; errors and delays since then leave it in place."""
        launched = self.condition(types.LAUNCHED)
        return launched if launched and launched.reason in reasons.FAILURES else None

    def seconds_left(self, now: datetime) -> int:
        """Until `attempt.retry_after`, rounded up."""
        return self.attempt.seconds_left(now)


def read_status(manifest: Manifest) -> MachineStatus:
    """Whatever of the status can be read."""
    status = mapping(manifest.get("status"))
    return MachineStatus(
        conditions=sequence(status.get("conditions")),
        attempt=_attempt(mapping(status.get("attempt"))),
        pool=_pool(mapping(status.get("pool"))),
        error=_error(mapping(status.get("lastError"))),
        absent_since=parse_timestamp(status.get("absentSince")),
        node=_node(status),
    )


def _attempt(found: Mapping[str, Any]) -> Attempt:
    return Attempt(
        count=_count(found.get("count")),
        first_at=parse_timestamp(found.get("firstAt")),
        retry_after=parse_timestamp(found.get("retryAfter")),
        retry=text(found.get("retry")),
        priority=text(found.get("priority")),
        reason=text(found.get("reason")),
        in_a_row=_count(found.get("inARow")),
        failed_pool=parse_timestamp(found.get("failedPool")),
        delays=_count(found.get("delays")),
        digest=text(found.get("digest")),
    )


def _count(value: object) -> int:
    return min(max(number(value), 0), 1_000_000)


def _pool(found: Mapping[str, Any]) -> PoolStatus | None:
    pool = PoolStatus(text(found.get("name")), text(found.get("provisioningState")))
    return pool if pool.name else None


def _error(found: Mapping[str, Any]) -> LastError | None:
    parts = (text(found.get(key)) for key in ("class", "code", "message"))
    error = LastError(*parts)
    return error if error.reason else None


def _node(status: Mapping[str, Any]) -> Mapping[str, Any]:
    texts = {key: text(status.get(key)) for key in ("nodeName", "providerID")}
    amounts = {
        key: {name: amount for name, amount in mapping(status.get(key)).items() if text(amount)}
        for key in ("capacity", "allocatable")
    }
    return {key: value for key, value in {**texts, **amounts}.items() if value}
