"""Processes that do not outlive this one: each leads a group, and dies with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: the child may not load anything.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildProcess:
    """One process with its group; `ended` is told its return code from another thread."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        ended: Callable[[int], None],
        folder: Path | None = None,
    ) -> None:
        """Start it; raise `OSError` if that is impossible.

        Linux ends a child when the *thread* that started it ends: start from a thread that stays.
        """
        parent = os.getpid()

        def die_with_parent() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)

        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  the words are those of a pod of ours
                arguments,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._waiter = threading.Thread(
            target=lambda: ended(self._process.wait()), daemon=True, name=f"wait {arguments[0]}"
        )
        self._waiter.start()

    @property
    def pid(self) -> int:
        """The process, which leads its group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        # The process leads its group, so both have the same number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End the group at once."""
        self.signal(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it has not come."""
        self._waiter.join(seconds)
        return not self._waiter.is_alive()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
