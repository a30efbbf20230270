"""What the routes of the server share: the state of the process, and the form of an answer."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tornado.web

from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.limits import RETRY_SECONDS, Limits
from kaito_runtime.serving.http.metrics import ServerMetrics


@dataclass
class Served:
    """What all requests share."""

    pipeline: str
    adapter_digest: str = ""
    engine: ChatEngine | None = None
    """None until the model is loaded and has generated one token."""
    limits: Limits = field(default_factory=Limits)
    is_stopping: bool = False
    connections: Callable[[], int] = lambda: 0
    """How many clients are connected; the server says."""
    running: int = 0
    """Chats that have not been answered yet."""
    metrics: ServerMetrics = field(default_factory=ServerMetrics)

    @property
    def is_ready(self) -> bool:
        """Return true while chats can be answered."""
        return self.engine is not None and self.engine.is_alive() and not self.is_stopping

    async def drained(self, seconds: float) -> None:
        """Wait until no chat is in progress, at most so long."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            await asyncio.sleep(0.05)


class Handler(tornado.web.RequestHandler):
    """A route that shares `Served` and answers JSON."""

    served: Served

    def initialize(self, served: Served) -> None:
        """Take what all requests share."""
        self.served = served

    def set_default_headers(self) -> None:
        """Say nothing about the server's version."""
        self.set_header("Server", "kaito")

    def answer(self, content: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        # A text of JSON may hold half a surrogate pair, which UTF-8 has no bytes for.
        self.finish(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))

    def finish(self, chunk: Any = None) -> "asyncio.Future[None]":
        """Send the answer; a client that does not take it off is let go."""
        written = super().finish(chunk)
        if not written.done():
            close = self.request.connection.close  # type: ignore[union-attr]
            seconds = self.served.limits.answer_seconds
            timer = asyncio.get_running_loop().call_later(seconds, close)
            written.add_done_callback(lambda _: timer.cancel())
        return written

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send errors in Kaito's form."""
        self.answer({"detail": self._reason}, status_code)

    def answer_unavailable(self, detail: str) -> None:
        """Ask the client to come back."""
        self.set_header("Retry-After", str(RETRY_SECONDS))
        self.answer({"detail": detail}, 503)
