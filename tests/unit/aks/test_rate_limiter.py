from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kaito_hooks.machine.errors import Throttled
from kaito_hooks.providers.aks.rate_limiter import BURST, PER_SECOND, RateLimiter

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> Any:
        return START + timedelta(seconds=self.seconds)


def spent() -> Any:
    clock = Clock()
    pace = RateLimiter(clock)
    for _ in range(int(BURST)):
        pace.take(1)
    return clock, pace


def test_who_comes_too_early_gets_a_moment_of_its_own() -> None:
    clock, pace = spent()
    waits = []
    for _ in range(5):
        with pytest.raises(Throttled) as refused:
            pace.take(2)
        waits.append(refused.value.wait)
    assert waits == sorted(set(waits))
    assert waits[0] >= 2 / PER_SECOND
    clock.seconds = waits[0]
    pace.take(2)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    clock, pace = spent()
    clock.seconds = -3600
    with pytest.raises(Throttled):
        pace.take(1)


def test_what_was_not_used_is_given_back() -> None:
    _, pace = spent()
    pace.correct(-1)
    pace.take(1)
    with pytest.raises(Throttled):
        pace.take(1)
