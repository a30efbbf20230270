"""Our own limits on requests, below AKS' (MicrosoftDocs/azure-aks-docs, quotas-skus-regions).

AKS allows 60 at once and one a second for "all other" requests, that is GET, LIST and DELETE of pools, the same
again for GET of the cluster, and for each pool 20 PUTs and one a minute. Who comes too early gets a moment of its
own to come back, so that hundreds of Machines queue up instead of coming back together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from math import ceil

from kaito_hooks.providers.aks.errors import Throttled

BURST, PER_SECOND = 50.0, 0.9
"""Less than AKS allows: the sweep, and people with the portal, ask from the same budget."""
PUT_BURST, PUTS_PER_SECOND = 5.0, 0.8 / 60
"""Likewise; a process that starts anew does not know what the one before it has asked for."""
MOST_POOLS = 1000


class RateLimiter:
    """A token bucket on the hook's clock."""

    def __init__(
        self, now: Callable[[], datetime], burst: float = BURST, per_second: float = PER_SECOND
    ) -> None:
        self._now = now
        self._burst, self._per_second = burst, per_second
        self._lock = threading.Lock()
        self._left = burst
        self._at: datetime | None = None
        self._next = 0.0
        """Of the moments given away, the last."""

    def take(self, count: int) -> None:
        """Count requests; raise `Throttled` with the caller's own moment when there are too many.

        A call that reads a pool pays for the request that follows as well: else it would be stopped
        half way, and all its requests would have been for nothing.
        """
        with self._lock:
            now = self._now()
            passed = max((now - (self._at or now)).total_seconds(), 0)
            self._left = min(self._burst, self._left + passed * self._per_second)
            self._at = now
            if self._left >= count:
                self._left -= count
                return
            soonest = now.timestamp() + (count - self._left) / self._per_second
            self._next = max(self._next + count / self._per_second, soonest)
            raise Throttled("Paced", retry_after=ceil(self._next - now.timestamp()))

    def correct(self, count: int) -> None:
        """Count requests that turned out to be more, or, below zero, fewer."""
        with self._lock:
            self._left -= count


class PutRateLimiter:
    """A bucket for each pool."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._pools: dict[str, RateLimiter] = {}

    def take(self, pool: str) -> None:
        """Count a PUT of that pool; raise `Throttled` with the moment from which it may be sent."""
        with self._lock:
            if pool not in self._pools:
                while len(self._pools) >= MOST_POOLS:  # The oldest has long been filled again.
                    del self._pools[next(iter(self._pools))]
                self._pools[pool] = RateLimiter(self._now, PUT_BURST, PUTS_PER_SECOND)
            limiter = self._pools[pool]
        limiter.take(1)
