"""Our own reading of Metacontroller, run against the real API server."""

from __future__ import annotations

from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HttpCaller

from tests.e2e.real_story import RealStory
from tests.harness.api_informers import Informers


class OurLoop:
    """Runs in the thread of the story."""

    def __init__(self, story: RealStory) -> None:
        self._story = story
        self._running: Metacontroller | None = None

    def start(self) -> None:
        event_loop = self._story.event_loop
        self._server = Informers(self._story.plane.kubeconfig, event_loop.post)
        self._running = Metacontroller(self._server, event_loop, HttpCaller({}))

    def kill(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._server.close()
            self._running = None
