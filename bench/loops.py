"""What calls the hook in `make bench-operator`: Metacontroller with what ships, or our own loop where there is none."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol

from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HttpCaller

from tests.e2e import metacontroller
from tests.e2e.control_plane import ControlPlane
from tests.e2e.install import METACONTROLLER_CRDS, kubectl, wait_for_kinds
from tests.harness.api_informers import Informers


class Loop(Protocol):
    """Runs until it is stopped."""

    pid: int

    def stop(self) -> None: ...


class ShippedMetacontroller:
    """The program with the flags and the rights of manifests/components/metacontroller."""

    def __init__(self, plane: ControlPlane, program: str, folder: Path) -> None:
        kubeconfig = metacontroller.install_shipped(plane, folder)
        flags = metacontroller.shipped_flags()
        self._process = metacontroller.MetacontrollerProcess(plane, program, flags, kubeconfig)
        self._process.start()
        self.pid = self._process.pid

    def stop(self) -> None:
        self._process.kill()


class OurLoop:
    """In a thread of this process, whose memory stands for it."""

    pid = os.getpid()

    def __init__(self, plane: ControlPlane) -> None:
        kubectl(plane, "apply", "-f", METACONTROLLER_CRDS)
        wait_for_kinds(plane)
        self._event_loop = EventLoop(RealClock())
        self._server = Informers(plane.kubeconfig, self._event_loop.post)
        self._loop = Metacontroller(self._server, self._event_loop, HttpCaller({}))
        self._thread = threading.Thread(target=self._event_loop.run, daemon=True, name="our loop")
        self._thread.start()

    def stop(self) -> None:
        self._event_loop.stop()
        self._thread.join()
        self._server.close()


def name_of(program: str | None) -> str:
    """Which loop it is, for the output."""
    return f"Metacontroller {' '.join(metacontroller.shipped_flags())}" if program else "our loop"


def start(plane: ControlPlane, program: str | None, folder: Path) -> Loop:
    """Metacontroller where there is one."""
    return ShippedMetacontroller(plane, program, folder) if program else OurLoop(plane)
