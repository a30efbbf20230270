"""How much time, room and how many connections clients get; whoever takes more is let go.

Tornado waits an hour for headers and for ever for a body, and keeps what has arrived until then. Here
every request has a deadline for each of its phases and its bytes are counted from the first one to the
answer. Where connections or bytes run out, the request that has been arriving for the longest time
makes room: a client that sends at once is always heard, the kubelet's probes among them.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.web import Application

from kaito_runtime.serving.http.errors import ApiError

MIB = 1024 * 1024
RETRY_SECONDS = 1
"""What Retry-After says: by then a place in the queue is free, or a probe has noticed."""
HEADERS_LIMIT_BYTES = 16 * 1024
"""Twice what proxies send on at most."""
BUFFER_LIMIT_BYTES = 256 * 1024
"""What is read ahead of what is asked for; Tornado's own limit is 100 MiB a connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may take."""

    body_bytes: int = 2 * MIB
    """Of one request: far beyond any context in tokens."""
    bodies_bytes: int = 64 * MIB
    """Of all requests until they are answered: a full queue of long prompts, and little beside a model."""
    connections: int = 512
    """Three times the chats that can wait and run, and below the 1,024 files of a bare process."""
    headers_seconds: float = 10.0
    """From connecting to the end of the first request's headers."""
    idle_seconds: float = 75.0
    """From an answer to the end of the next headers; load balancers reuse connections for a minute."""
    body_seconds: float = 30.0
    """From the headers to the end of the body: 70 KiB a second for the largest."""
    linger_seconds: float = 2.0
    """How long a refused body is read and dropped, since closing at once can destroy the answer."""
    answer_seconds: float = 30.0
    """How long an answer may wait to be taken off."""


class LimitedServer(HTTPServer):
    """Tornado's server with limits; `dropped` is called for each request that was let go."""

    def initialize(  # type: ignore[override]
        self, app: Application, limits: Limits, dropped: Callable[[], None]
    ) -> None:
        """Take what `HTTPServer` is made of; Configurable calls this in place of a constructor."""
        super().initialize(
            app,
            max_header_size=HEADERS_LIMIT_BYTES,
            max_buffer_size=BUFFER_LIMIT_BYTES,
            max_body_size=1 << 40,  # `Arrival` refuses with an answer, where Tornado hangs up
        )
        self.limits = limits
        self.dropped = dropped
        self.held_bytes = 0
        self._arrivals: dict[object, Arrival] = {}
        """The request in progress of each connection, in the order in which they began."""

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        return len(self._arrivals)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Accept a connection, at the expense of the slowest if there are too many."""
        if len(self._arrivals) >= self.limits.connections and not self._make_room():
            self.dropped()
            _hang_up(stream, 503, "Too many connections are open; try again")
            return
        super().handle_stream(stream, address)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Begin to wait for a connection's next request."""
        app = super().start_request(server_conn, request_conn)
        before = self._arrivals.pop(server_conn, None)
        if before:
            before.release()
        stream = cast(HTTP1ServerConnection, server_conn).stream
        arrival = Arrival(self, app, request_conn, stream, is_first=before is None)
        self._arrivals[server_conn] = arrival
        return arrival

    def on_close(self, server_conn: object) -> None:
        """Forget a connection and all that it held."""
        super().on_close(server_conn)
        arrival = self._arrivals.pop(server_conn, None)
        if arrival:
            arrival.release()

    def has_room(self, wanting: "Arrival") -> bool:
        """Return whether the bytes held are within the limit, after making room if need be."""
        while self.held_bytes > self.limits.bodies_bytes:
            if not self._make_room(wanting, lambda arrival: arrival.held_bytes > 0):
                return False
        return True

    def _make_room(
        self,
        wanting: "Arrival | None" = None,
        helps: Callable[["Arrival"], bool] = lambda _: True,
    ) -> bool:
        for arrival in self._arrivals.values():
            if arrival is not wanting and arrival.is_arriving and helps(arrival):
                arrival.give_way()
                return True
        return False


class Arrival(HTTPMessageDelegate):
    """One request on its way in: lets it through to the application, or answers in its place."""

    def __init__(
        self,
        server: LimitedServer,
        app: HTTPMessageDelegate,
        connection: HTTPConnection,
        stream: IOStream,
        *,
        is_first: bool,
    ):
        self._server = server
        self._app: HTTPMessageDelegate | None = app
        self._connection = connection
        self._stream = stream
        self._is_first = is_first
        self._has_headers = False
        self._path = ""
        self._is_refused = False
        self._expects_continue = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_arriving = True
        """False once the request is complete, or given up."""
        self.held_bytes = 0
        limits = server.limits
        self._wait(limits.headers_seconds if is_first else limits.idle_seconds, self._expire)

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Refuse a body that is too large before it arrives."""
        self._has_headers = True
        self._path = start_line.path if isinstance(start_line, RequestStartLine) else ""
        self._expects_continue = "Expect" in headers
        self._wait(self._server.limits.body_seconds, self._expire)
        # Tornado parses the forms of browsers by their type; here every body is JSON, whatever
        # curl says of it, and is parsed once.
        headers.pop("Content-Type", None)
        if _declared_bytes(headers) > self._server.limits.body_bytes:
            self._refuse_large()
            return None
        return self._app.headers_received(start_line, headers) if self._app else None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Hand a part of the body on, if there is room for it."""
        if self._is_refused or self._app is None:
            return None
        self.held_bytes += len(chunk)
        self._server.held_bytes += len(chunk)
        if self.held_bytes > self._server.limits.body_bytes:
            self._refuse_large()
        elif not self._server.has_room(self):
            self._refuse(503, "Too many requests are arriving; try again")
        else:
            return self._app.data_received(chunk)
        return None

    def finish(self) -> None:
        """Let the application answer."""
        self.is_arriving = False
        self._stop_waiting()
        app, self._app = self._app, None  # it keeps a second copy of the body
        if self._is_refused:
            self._stream.close()
        elif app is not None:
            app.finish()

    def on_connection_close(self) -> None:
        """Drop what has arrived."""
        app, self._app = self._app, None
        if app is not None and not self._is_refused:
            app.on_connection_close()
        self.release()

    def give_way(self) -> None:
        """Make room for another request."""
        if self._has_headers and not self._is_refused:
            self._refuse(503, "The request took too long while many others came; try again")
        elif not self._is_refused:
            self._server.dropped()
        self.release()
        self._stream.close()

    def release(self) -> None:
        """Give back the room and the time of this request; it is over."""
        self.is_arriving = False
        self._stop_waiting()
        self._server.held_bytes -= self.held_bytes
        self.held_bytes = 0
        self._app = None

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self._has_headers:
            self._refuse(408, "the request took too long to arrive")
            self._stream.close()
        elif self._is_first:
            self._server.dropped()
            _hang_up(self._stream, 408, "the request took too long to arrive")
        else:
            self._stream.close()  # an idle connection, and clients expect it to end

    def _refuse_large(self) -> None:
        limit = self._server.limits.body_bytes
        self._refuse(413, f"the body is larger than {limit} bytes; write a shorter one")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer at once, and drop the rest of the body for a while or until it ends."""
        app, self._app = self._app, None
        if app is not None and self.held_bytes:
            app.on_connection_close()  # it drops what it has of the body
        self._is_refused = True
        self._server.held_bytes -= self.held_bytes
        self.held_bytes = 0
        self._server.dropped()
        headers, body = _answer(status, detail, self._path)
        self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", status, HTTPStatus(status).phrase),
            HTTPHeaders(headers),
            body,
        )
        if self._expects_continue:  # Tornado would ask for the body
            self._connection.finish()
        else:
            self._wait(self._server.limits.linger_seconds, self._stream.close)


def _declared_bytes(headers: HTTPHeaders) -> int:
    """Return Content-Length; 0 where it is no number, which Tornado answers with 400."""
    try:
        return int(headers.get("Content-Length") or 0)
    except ValueError:
        return 0


def _hang_up(stream: IOStream, status: int, detail: str) -> None:
    """Answer a connection whose request has not arrived, and close it."""
    headers, body = _answer(status, detail)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    written = stream.write("\r\n".join([*lines, "", ""]).encode() + body)
    # Of no interest: the stream is closed either way.
    written.add_done_callback(lambda done: done.cancelled() or done.exception())
    stream.close()


def _answer(status: int, detail: str, path: str = "") -> tuple[dict[str, str], bytes]:
    body = json.dumps(ApiError(status, detail).content(path)).encode()
    headers = {
        "Server": "kaito",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return headers, body
