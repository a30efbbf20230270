"""The two hooks as processes, each behind gunicorn on loopback."""

from __future__ import annotations

import http.client
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from kaito_laptop.core.child_process import ChildProcess, free_port
from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.log_files import tail

START_SECONDS = 60.0
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


class HookStartError(LaptopError):
    """A hook did not come up; the message has the end of its log."""


class HookProcess:
    """One hook; answers at `address` once `wait` has returned."""

    def __init__(self, app: str, environment: Mapping[str, str], log: Path) -> None:
        """Start it; `app` is a factory such as `package.module:create_app()`."""
        self._app = app
        self._log = log
        self._ended = threading.Event()
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "gunicorn", app, "--bind", self.address]
        words += ["--worker-class", "gthread", "--workers", "1", "--threads", "16"]
        words += ["--keep-alive", "75"]
        words += ["--log-level", "warning", "--graceful-timeout", "2", "--no-control-socket"]
        inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
        modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = ChildProcess(
            words,
            {**inherited, **modules, **environment},
            log,
            lambda _: self._ended.set(),
            # gunicorn reads a configuration file of the folder that it starts in.
            log.parent,
        )

    def wait(self) -> None:
        """Wait until it answers; raise `HookStartError` if it ends or does not."""
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._ended.wait(0.05) or time.monotonic() > end:
                raise HookStartError(f"{self._app} did not start:\n{tail(self._log)}")

    @property
    def pid(self) -> int:
        """The process of gunicorn; its workers are the children."""
        return self._process.pid

    def stop(self) -> None:
        """End it with its workers."""
        self._process.kill()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self.address, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
