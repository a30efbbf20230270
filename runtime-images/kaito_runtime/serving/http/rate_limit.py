"""How much each key may ask."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from kaito_runtime.serving.http.errors import ApiError

WINDOW_SECONDS = 60.0
CODE = "rate_limit_exceeded"
CONCURRENT_RETRY_SECONDS = 1
"""When a place may be free again."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What one key may take; where no keys are demanded, all clients together. None: any number."""

    requests_per_minute: int | None = None
    concurrent: int | None = None


class RateLimiter:
    """Counts the requests of each key, over the last sixty seconds and at this moment."""

    def __init__(
        self, limits: RateLimits = RateLimits(), clock: Callable[[], float] = time.monotonic
    ):
        self._limits = limits
        self._clock = clock
        self._begun: dict[bytes, deque[float]] = {}
        self._running: Counter[bytes] = Counter()

    @contextmanager
    def turn(self, holder: bytes) -> Iterator[None]:
        """Count a request while it is answered; raises ApiError (429) for one too many."""
        self._refuse_concurrent(holder)
        self._refuse_frequent(holder)
        self._running[holder] += 1
        try:
            yield
        finally:
            self._running[holder] -= 1
            if not self._running[holder]:
                del self._running[holder]

    def _refuse_concurrent(self, holder: bytes) -> None:
        most = self._limits.concurrent
        if most is not None and self._running[holder] >= most:
            raise _too_many(
                f"at most {most} requests at a time are allowed; try again when one is answered",
                CONCURRENT_RETRY_SECONDS,
            )

    def _refuse_frequent(self, holder: bytes) -> None:
        most = self._limits.requests_per_minute
        if most is None:
            return
        begun, now = self._begun.setdefault(holder, deque()), self._clock()
        while begun and begun[0] <= now - WINDOW_SECONDS:
            begun.popleft()
        if len(begun) >= most:
            wait = math.ceil(begun[0] + WINDOW_SECONDS - now) if begun else int(WINDOW_SECONDS)
            raise _too_many(
                f"at most {most} requests a minute are allowed; try again in {wait} s", wait
            )
        begun.append(now)


def _too_many(message: str, retry_seconds: int) -> ApiError:
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS, message, code=CODE, retry_seconds=max(1, retry_seconds)
    )
