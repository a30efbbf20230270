"""What the routes of the server share: the state of the process, and the form of an answer."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import tornado.web
from tornado.iostream import StreamClosedError

from kaito_runtime.serving.http.auth import ANYONE
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.limits import RETRY_SECONDS
from kaito_runtime.serving.http.page import page
from kaito_runtime.serving.http.state import ServerState


class Handler(tornado.web.RequestHandler):
    """A route that shares `ServerState` and answers JSON."""

    state: ServerState
    needs_key = True
    """Health has none to give, and pages that hold no secret must reach the browser."""
    is_known = True
    """False where any path leads, and none is to be counted by its name."""
    holder = ANYONE
    """Who asks."""

    def initialize(self, state: ServerState) -> None:
        """Take what all requests share."""
        self.state = state

    def set_default_headers(self) -> None:
        """Say nothing about the server's version."""
        self.set_header("Server", "kaito")

    def prepare(self) -> None:
        """Refuse a request without a valid key, where keys are demanded."""
        if self.state.keys is None or not self.needs_key:
            return
        try:
            self.holder = self.state.keys.holder(self.request.headers.get("Authorization", ""))
        except ApiError as error:
            self.set_header("WWW-Authenticate", "Bearer")
            self.answer_error(error)

    def answer(self, content: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(_json(content))

    def send_page(self, name: str) -> None:
        """Send a page for people."""
        sent = page(name)
        for header, value in sent.headers.items():
            self.set_header(header, value)
        self.finish(sent.content)

    def answer_error(self, error: ApiError) -> None:
        """Send an error in the form of the path's API."""
        self.count_error(error.status)
        if error.retry_seconds is not None:
            self.set_header("Retry-After", str(error.retry_seconds))
        self.answer(error.content(self.request.path), error.status)

    def count_error(self, status: int) -> None:
        """Count an answer, or the end of a stream, that is an error."""
        path = self.request.path if self.is_known else "other"
        self.state.metrics.errors.labels(path=path, status=str(status)).inc()

    async def send_event(self, content: Any) -> None:
        """Send one server-sent event, and wait until the client has taken it off.

        Raises StreamClosedError for a client that is gone or takes too long.
        """
        if not self._headers_written:
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            self.set_header("Cache-Control", "no-cache")
            self.set_header("X-Accel-Buffering", "no")  # a proxy that collects would stream nothing
        self.write(_event(content))
        written = self.flush()
        if not written.done():
            await asyncio.wait([written], timeout=self.state.limits.answer_seconds)
        if not written.done():
            self._hang_up()
            raise StreamClosedError
        written.result()

    def send_last_event(self, *contents: Any) -> None:
        """Send server-sent events, and end the answer."""
        self.finish(b"".join(map(_event, contents)))

    def finish(self, chunk: Any = None) -> "asyncio.Future[None]":
        """Send the answer; a client that does not take it off is let go."""
        written = super().finish(chunk)
        if not written.done():
            seconds = self.state.limits.answer_seconds
            timer = asyncio.get_running_loop().call_later(seconds, self._hang_up)
            written.add_done_callback(lambda _: timer.cancel())
        return written

    def write_error(self, status_code: int, **_: Any) -> None:
        """Send errors of Tornado's in the form of the path's API."""
        self.answer_error(ApiError(status_code, self._reason or HTTPStatus(status_code).phrase))

    def _hang_up(self) -> None:
        self.request.connection.close()  # type: ignore[union-attr]


def unavailable(message: str) -> ApiError:
    """Return the error that asks the client to come back."""
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE, message, code="unavailable", retry_seconds=RETRY_SECONDS
    )


def _event(content: Any) -> bytes:
    """Return an event whose data is JSON, or bytes as they are."""
    return b"data: %b\n\n" % (content if isinstance(content, bytes) else _json(content))


def _json(content: Any) -> bytes:
    # A text of JSON may hold half a surrogate pair, which UTF-8 has no bytes for.
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
