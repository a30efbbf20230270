"""Our own limit on requests, below AKS': 60 at once and one a second, for a subscription and region.

Who comes too early gets a moment of its own to come back, so that hundreds of Machines queue up instead of
coming back together (AKS: "all other" requests, that is GET, LIST and DELETE; each PUT has a pool's own limit).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from math import ceil

from kaito_hooks.machine.trouble import Throttled

BURST, PER_SECOND = 50.0, 0.9
"""Less than AKS allows: the sweep, and people with the portal, ask from the same budget."""


class Pace:
    """A token bucket on the hook's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._left = BURST
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
            self._left = min(BURST, self._left + passed * PER_SECOND)
            self._at = now
            if self._left >= count:
                self._left -= count
                return
            soonest = now.timestamp() + (count - self._left) / PER_SECOND
            self._next = max(self._next + count / PER_SECOND, soonest)
            raise Throttled("Paced", retry_after=ceil(self._next - now.timestamp()))

    def correct(self, count: int) -> None:
        """Count requests that turned out to be more, or, below zero, fewer."""
        with self._lock:
            self._left -= count
