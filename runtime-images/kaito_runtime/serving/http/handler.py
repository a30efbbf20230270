"""What the routes of the server share: the state of the process, and the form of an answer."""

import asyncio
import json
from typing import Any

import tornado.web

from kaito_runtime.serving.http.limits import RETRY_SECONDS
from kaito_runtime.serving.http.state import ServerState


class Handler(tornado.web.RequestHandler):
    """A route that shares `ServerState` and answers JSON."""

    state: ServerState

    def initialize(self, state: ServerState) -> None:
        """Take what all requests share."""
        self.state = state

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
            seconds = self.state.limits.answer_seconds
            timer = asyncio.get_running_loop().call_later(seconds, close)
            written.add_done_callback(lambda _: timer.cancel())
        return written

    def write_error(self, status_code: int, **_: Any) -> None:
        """Send errors in Kaito's form."""
        self.answer({"detail": self._reason}, status_code)

    def answer_unavailable(self, detail: str) -> None:
        """Ask the client to come back."""
        self.set_header("Retry-After", str(RETRY_SECONDS))
        self.answer({"detail": detail}, 503)
