"""How long to wait after failures: the default controller rate limiter of client-go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from kaito_laptop.core.clock import Clock

K = TypeVar("K", bound=Hashable)

FIRST_SECONDS, LONGEST_SECONDS = 0.005, 1000.0
RATE, BURST = 10.0, 100.0


class Backoff(Generic[K]):
    """Doubles the delay of a name at each failure; all names together fail 10 times a second."""

    def __init__(
        self, clock: Clock, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self._clock = clock
        self._first, self._longest = first, longest
        self._failures: Counter[K] = Counter()
        self._tokens = BURST
        self._filled = clock.seconds()

    def delay(self, key: K) -> float:
        """Count a failure and return the seconds to wait."""
        # Beyond 2^20 the bound counts anyway; a larger power would overflow after days.
        own = min(self._first * float(1 << min(self._failures[key], 20)), self._longest)
        self._failures[key] += 1
        return max(own, self._reserve())

    def forget(self, key: K) -> None:
        """Begin again with the shortest delay."""
        self._failures.pop(key, None)

    def _reserve(self) -> float:
        now = self._clock.seconds()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE) - 1
        self._filled = now
        return max(0.0, -self._tokens / RATE)
