"""The only place of the laptop cluster where time comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Seconds for timers, and the date for what is written into objects."""

    def seconds(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The date in UTC."""
        ...


class RealClock:
    """The clock of this computer."""

    def seconds(self) -> float:
        """Return the monotonic clock."""
        return time.monotonic()

    def now(self) -> datetime:
        """Return the date in UTC."""
        return datetime.now(UTC)


class VirtualClock:
    """A clock that stands still until it is moved, so that a story of hours takes milliseconds."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._seconds = 0.0

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self._seconds

    def now(self) -> datetime:
        """Return the start plus the seconds since."""
        return self._start + timedelta(seconds=self._seconds)

    def advance_to(self, seconds: float) -> None:
        """Move forward; a moment in the past changes nothing."""
        self._seconds = max(self._seconds, seconds)


def timestamp(moment: datetime) -> str:
    """Write a date as the API server does, with whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """Read a date that the API server wrote."""
    return datetime.fromisoformat(text)
