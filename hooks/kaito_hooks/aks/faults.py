"""Which trouble an answer of AKS is: by its codes, wherever nested, and by the status.

Never by the exception of the library, whose classes follow the request's headers, and by the message
only where AKS uses one code for different things (aks.md 0.6, 0.7, 2.7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from kaito_hooks.aks.replies import Reply
from kaito_hooks.machine import trouble
from kaito_hooks.machine.trouble import ProviderError

Fault = tuple[str, str]
"""Code and message."""

_QUOTA = re.compile(r"\bquota\b|LowPriorityCores", re.IGNORECASE)
_NO_QUOTA = re.compile(r"Current Limit: 0\b", re.IGNORECASE)
_UNDER_WAY = re.compile(r"in progress create (?:node|agent) ?pool operation", re.IGNORECASE)
_NOT_OFFERED = re.compile(
    r"is not allowed in your subscription|is not supported for subscription", re.IGNORECASE
)
_TOO_MANY_POOLS = re.compile(
    r"(?:maximum|limit|exceed\w*)\b.{0,60}\b(?:agent|node) ?pools?\b"
    r"|\b(?:agent|node) ?pools?\b.{0,60}\b(?:maximum|limit|exceed)",
    re.IGNORECASE,
)

_BY_CODE: dict[str, type[ProviderError]] = {
    "errcode_insufficientvcpuquota": trouble.QuotaExceeded,
    "insufficientvcpuquota": trouble.QuotaExceeded,
    "quotaexceeded": trouble.QuotaExceeded,
    "skunotavailable": trouble.SkuNotAvailable,
    "vmsizenotsupported": trouble.SkuNotAvailable,
    "allocationfailed": trouble.InsufficientCapacity,
    "zonalallocationfailed": trouble.InsufficientCapacity,
    "overconstrainedallocationrequest": trouble.InsufficientCapacity,
    "overconstrainedzonalallocationrequest": trouble.InsufficientCapacity,
    "insufficientsubnetsize": trouble.SubnetFull,
    "throttled": trouble.Throttled,
    "toomanyrequests": trouble.Throttled,
    "authorizationfailed": trouble.Forbidden,
    "linkedauthorizationfailed": trouble.Forbidden,
    "requestdisallowedbypolicy": trouble.Forbidden,
    "missingsubscriptionregistration": trouble.ConfigError,
    "resourcegroupnotfound": trouble.ConfigError,
    "resourcenotfound": trouble.ConfigError,
    "parentresourcenotfound": trouble.ConfigError,
    "subscriptionnotfound": trouble.ConfigError,
    "invalidsubscriptionid": trouble.ConfigError,
}

POOL_NOT_FOUND = "NotFound"
"""The code of a 404 that speaks of the pool; a missing cluster has another one."""


def of_reply(reply: Reply, now: datetime) -> ProviderError:
    """The trouble that an answer stands for."""
    faults = list(reply.faults())
    code, message = next(iter(faults), ("", ""))
    retry_after = reply.retry_after(now)
    kind = _by_status(reply.status) or _by_fault(faults)
    if kind is not None:
        code, message = _telling(faults, kind) or (code, message)
    else:
        kind = _rest(reply.status, code)
    return kind(code or f"HTTP {reply.status}", message, retry_after)


def of_pool(error: object, faults: Sequence[Fault]) -> ProviderError | None:
    """Why a pool failed, from `properties.status.provisioningError`."""
    if not error or not faults:
        return None
    kind = _by_fault(faults) or trouble.PoolFailed
    if not issubclass(kind, trouble.Refused | trouble.Deferred):
        kind = trouble.PoolFailed
    return kind(*(_telling(faults, kind) or faults[0]))


def _by_status(status: int) -> type[ProviderError] | None:
    if status == 401:
        return trouble.Unauthorized
    if status == 429:
        return trouble.Throttled
    if status >= 500:
        return trouble.Unanswered
    return None


def _by_fault(faults: Sequence[Fault]) -> type[ProviderError] | None:
    """The innermost is the cause; what wraps it says only that something failed."""
    found = (_known(code, message) for code, message in reversed(faults))
    return next((kind for kind in found if kind is not None), None)


def _known(code: str, message: str) -> type[ProviderError] | None:
    kind = _BY_CODE.get(code.lower())
    if kind is None and code == "OperationNotAllowed":
        if _UNDER_WAY.search(message):
            return trouble.Underway
        kind = trouble.QuotaExceeded if _QUOTA.search(message) else None
    if kind is None and _NOT_OFFERED.search(message):
        kind = trouble.SkuNotAvailable
    if kind is None and code not in ("", "OperationNotAllowed") and _TOO_MANY_POOLS.search(message):
        kind = trouble.PoolLimit
    if kind is trouble.QuotaExceeded and _NO_QUOTA.search(message):
        return trouble.QuotaIsZero
    return kind


def _telling(faults: Sequence[Fault], kind: type[ProviderError]) -> Fault | None:
    return next((fault for fault in reversed(faults) if _known(*fault) is kind), None)


def _rest(status: int, code: str) -> type[ProviderError]:
    """What only the status tells; without a code it was not ARM that answered."""
    if status == 412:
        return trouble.EtagMismatch
    if not code:
        return trouble.Unreadable
    if status == 403:
        return trouble.Forbidden
    if status == 409:
        return trouble.Busy
    if status == 404:
        return trouble.ConfigError
    if 400 <= status < 500:
        return trouble.InvalidRequest
    return trouble.Unreadable
