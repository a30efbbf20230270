"""One call at a time for each Machine.

When Metacontroller stops waiting it calls again, while the first call may still be sending a request
to the provider; only when that has ended can absence be proven.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class KeyedLock:
    """Holds keys; nobody waits for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[str] = set()

    @contextmanager
    def hold(self, key: str) -> Iterator[bool]:
        """Yield whether the key is ours until the block ends."""
        with self._lock:
            is_ours = key not in self._held
            self._held.add(key)
        try:
            yield is_ours
        finally:
            if is_ours:
                with self._lock:
                    self._held.discard(key)
