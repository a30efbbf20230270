"""The ledger of a start: how long each phase took until the first token."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class StartLedger:
    """Seconds by phase (`weights`, `adapters`, `first_token`), in the order in which they came.

    Written by the thread that loads, read by others.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase; one that comes again, such as an adapter after another, is added."""
        begun = self._clock()
        try:
            yield
        finally:
            spent = self._clock() - begun
            self._seconds = {**self._seconds, name: self._seconds.get(name, 0.0) + spent}

    @property
    def seconds(self) -> Mapping[str, float]:
        """What each phase took."""
        return self._seconds

    def __str__(self) -> str:
        """For the log: `weights 12.3 s, first_token 0.4 s`."""
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items())
