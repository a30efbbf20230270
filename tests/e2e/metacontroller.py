"""The real Metacontroller, as a process, from METACONTROLLER or PATH."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from http.client import HTTPConnection

from e2e.control_plane import HOST, ControlPlane
from kaito_laptop.child_process import ChildProcess, free_port

IMAGE = "ghcr.io/metacontroller/metacontroller:v4.17.2"
HOW_TO_GET = (
    "no Metacontroller: docker create --name mc "
    f"{IMAGE} && docker cp mc:/usr/bin/metacontroller . && export METACONTROLLER=$PWD/metacontroller"
)


def find() -> str | None:
    """Return the program, if there is one."""
    return os.environ.get("METACONTROLLER") or shutil.which("metacontroller")


class MetacontrollerProcess:
    """One run of it against a control plane; may be ended and started again."""

    def __init__(self, plane: ControlPlane, program: str) -> None:
        self._plane = plane
        self._program = program
        self._process: ChildProcess | None = None

    def start(self) -> None:
        """Return when it is alive."""
        health = free_port()
        words = [
            self._program,
            f"--kubeconfig={self._plane.kubeconfig}",
            "--metrics-address=0",
            f"--health-probe-bind-address={HOST}:{health}",
            "--discovery-interval=2s",
            "--client-go-qps=1000",
            "--client-go-burst=2000",
            "--events-qps=100",
            "--events-burst=1000",
            "--workers=20",
        ]
        self._process = self._plane.run("metacontroller", words)
        self._plane.wait_for("metacontroller", lambda: _is_alive(health))

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        if self._process is not None:
            self._plane.end(self._process)
            self._process = None

    @property
    def pid(self) -> int:
        """The process; it must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_crashed(self) -> bool:
        """Whether it ended without having been asked to."""
        return self._process is not None and not self._process.is_running


def _is_alive(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=1)
    with suppress(OSError):
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False
