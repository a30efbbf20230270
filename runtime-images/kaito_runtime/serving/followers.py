"""The other processes of a model on this node, one for each GPU, started by the first."""

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

from kaito_runtime.models.ranks import lost
from kaito_runtime.pod import termination, threads, torchrun

_GRACE_SECONDS = 5.0
"""How long the engine has to notice by itself that another process has ended."""


class Followers:
    """Processes that run this program with the same arguments, and follow this one."""

    def __init__(self, count: int, arguments: Sequence[str]):
        """Start all but this process, which is the first of `count`, and set its own variables.

        At its end this process waits for them.
        """
        atexit.register(self._wait)
        self._ended = threading.Event()
        share = str(max(1, threads.granted_processors() // count))
        self._processes = [
            subprocess.Popen(  # noqa: S603  this program
                [sys.executable, "-m", "kaito_runtime.serve", *arguments],
                env={
                    **os.environ,
                    **torchrun.on_one_node(number, count),
                    "OMP_NUM_THREADS": share,
                },
                stdin=subprocess.DEVNULL,
            )
            for number in range(1, count)
        ]
        os.environ.update(torchrun.on_one_node(0, count))
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _wait(self) -> None:
        self._ended.set()
        for process in self._processes:
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _watch(self, process: "subprocess.Popen[bytes]") -> None:
        """End this process as well where another one fails, and the engine waits for it in vain."""
        code = process.wait()
        if code and not self._ended.wait(_GRACE_SECONDS):
            termination.fail(lost(RuntimeError(f"process {process.pid} ended with code {code}")))
