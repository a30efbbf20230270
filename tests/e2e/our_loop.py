"""Our own reading of Metacontroller, run against the real API server."""

from __future__ import annotations

from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HttpCaller

from tests.e2e.real_world import RealWorld
from tests.harness.api_informers import Informers


class OurLoop:
    """Runs in the thread of the story."""

    def __init__(self, world: RealWorld) -> None:
        self._world = world
        self._running: Metacontroller | None = None

    def start(self) -> None:
        engine = self._world.engine
        self._server = Informers(self._world.plane.kubeconfig, engine.post)
        self._running = Metacontroller(self._server, engine, HttpCaller({}))

    def kill(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._server.close()
            self._running = None
