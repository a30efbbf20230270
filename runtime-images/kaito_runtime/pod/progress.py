"""Progress as lines on standard output, at most one a second."""

import time

MIB = 1024 * 1024
INTERVAL_SECONDS = 1.0


class RateLimit:
    """Says when the next line is due."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Return true at most once a second."""
        now = time.monotonic()
        if now - self._last < INTERVAL_SECONDS:
            return False
        self._last = now
        return True


class Progress:
    """Counts the bytes of one transfer and prints how far it is."""

    def __init__(self, label: str, total: int | None = None):
        self.label = label
        self.total = total
        self.done = 0
        self._lines = RateLimit()

    def add(self, count: int) -> None:
        """Count bytes that have arrived."""
        self.done += count
        if self._lines.is_due():
            print(self.line(), flush=True)

    def line(self) -> str:
        """Return the line as it stands: `data: 3.1 of 12.0 MiB (26 %)`."""
        if not self.total:
            return f"{self.label}: {self.done / MIB:.1f} MiB"
        share = 100 * self.done // self.total
        return f"{self.label}: {self.done / MIB:.1f} of {self.total / MIB:.1f} MiB ({share} %)"
