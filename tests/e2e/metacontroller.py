"""The real Metacontroller, as a process, from METACONTROLLER or PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import yaml

from kaito_laptop.core.child_process import ChildProcess, free_port

from tests.e2e.control_plane import HOST, ControlPlane
from tests.e2e.install import METACONTROLLER, kubectl, wait_for_kinds

LEAST = (4, 17, 2)
"""Before it, `resyncPeriodSeconds` and hooks of version v2 do not do what the manifests say."""
IMAGE = f"ghcr.io/metacontroller/metacontroller:v{'.'.join(map(str, LEAST))}"
QUICK = (
    "--discovery-interval=2s",
    "--client-go-qps=1000",
    "--client-go-burst=2000",
    "--events-qps=100",
    "--events-burst=1000",
    "--workers=20",
)
"""For stories: nothing waits for a limit."""
HOW_TO_GET = (
    "no Metacontroller: docker create --name mc "
    f"{IMAGE} && docker cp mc:/usr/bin/metacontroller . && export METACONTROLLER=$PWD/metacontroller"
)


def find() -> str | None:
    """Return the program, if there is one."""
    return os.environ.get("METACONTROLLER") or shutil.which("metacontroller")


def says(program: str) -> str:
    """The first line of its log, which names its version; it finds no API server and ends."""
    words = [program, "--kubeconfig=/dev/null", "--metrics-address=0"]
    words.append("--health-probe-bind-address=0")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            return process.stderr.readline()
        finally:
            process.kill()


def too_old(first_line: str) -> str:
    """What is wrong with that version, in words; empty when it will do or when a build of one's own does not tell."""
    found = re.search(r'"version":"v?(\d+)\.(\d+)\.(\d+)', first_line)
    version = tuple(map(int, found.groups())) if found else LEAST
    if version >= LEAST:
        return ""
    return (
        f"Metacontroller {'.'.join(map(str, version))} is too old, {'.'.join(map(str, LEAST))} or later is needed; "
        f"{HOW_TO_GET.partition(': ')[2]}"
    )


def shipped_flags() -> Sequence[str]:
    """Those of manifests/components/metacontroller."""
    text = (METACONTROLLER / "statefulset.yaml").read_text(encoding="utf-8")
    (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
    return [str(flag) for flag in container["args"]]


def install_shipped(plane: ControlPlane, folder: Path) -> Path:
    """Install the component without its pod; return a kubeconfig with no more than its rights."""
    overlay = METACONTROLLER.parents[1] / "overlays/metacontroller"
    kubectl(plane, "apply", "-k", overlay)
    kubectl(plane, "scale", "statefulset/metacontroller", "-n", "metacontroller", "--replicas=0")
    wait_for_kinds(plane)
    token = kubectl(plane, "create", "token", "metacontroller", "-n", "metacontroller")
    config = yaml.safe_load(plane.kubeconfig.read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token.strip()}
    kubeconfig = folder / "metacontroller.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    return kubeconfig


class MetacontrollerProcess:
    """One run of it against a control plane; may be ended and started again."""

    def __init__(
        self,
        plane: ControlPlane,
        program: str,
        flags: Sequence[str] = QUICK,
        kubeconfig: Path | None = None,
    ) -> None:
        self._plane = plane
        self._program = program
        self._flags = flags
        self._kubeconfig = kubeconfig or plane.kubeconfig
        self._process: ChildProcess | None = None

    def start(self) -> None:
        """Return when it is alive."""
        health = free_port()
        words = [
            self._program,
            *self._flags,
            f"--kubeconfig={self._kubeconfig}",
            "--metrics-address=0",
            f"--health-probe-bind-address={HOST}:{health}",
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
    with suppress(OSError), closing(HTTPConnection(HOST, port, timeout=1)) as connection:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    return False
