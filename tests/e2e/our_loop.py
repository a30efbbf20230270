"""Our own reading of Metacontroller, run against the real API server."""

from __future__ import annotations

from e2e.real_world import RealWorld
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HttpCaller


class OurLoop:
    """Runs in the thread of the story."""

    def __init__(self, world: RealWorld) -> None:
        self._world = world
        self._running: Metacontroller | None = None

    def start(self) -> None:
        caller = HttpCaller({})
        self._running = Metacontroller(self._world.cluster, self._world.engine, caller)

    def kill(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None
