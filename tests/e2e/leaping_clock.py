"""The time that the hooks and Azure see on a real cluster: it runs, and it leaps over waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class LeapingClock:
    """The clock of this computer, ahead by what was leapt over."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def seconds(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic() + self._ahead

    def now(self) -> datetime:
        """The date in UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def leap(self, seconds: float) -> None:
        """Move forward."""
        self._ahead += seconds
