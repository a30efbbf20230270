"""The time that the hooks and Azure see on a real cluster: it runs, and can be stepped over waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class FakeClock:
    """The clock of this computer, ahead by what was stepped over."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def seconds(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic() + self._ahead

    def now(self) -> datetime:
        """The date in UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def step(self, seconds: float) -> None:
        """Move forward."""
        self._ahead += seconds
