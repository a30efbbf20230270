"""The stand-in on a loopback socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from kaito_laptop.azure.answers import Answer, Request
from kaito_laptop.azure.cluster import ManagedCluster
from kaito_laptop.azure.interference import Handled
from kaito_laptop.azure.router import Router

HOST = "127.0.0.1"


class ArmServer:
    """Serves one cluster while the context is open.

    Time stands still between requests unless someone calls `cluster.advance`; with
    `moves_by_itself` a thread does, for a cluster that lives on the clock of this computer.
    """

    def __init__(
        self, cluster: ManagedCluster, *, port: int = 0, moves_by_itself: bool = False
    ) -> None:
        self.cluster = cluster
        self.router = Router(cluster, lambda: self.url)
        self._server = _Server((HOST, port), self.handle)
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        ]
        self._is_stopped = False
        self._wake = threading.Event()
        if moves_by_itself:
            self._threads.append(threading.Thread(target=self._move, daemon=True))

    @property
    def url(self) -> str:
        """What ARM_ENDPOINT must be."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Begin to answer."""
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """End, with all connections."""
        self._is_stopped = True
        self._wake.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def handle(self, request: Request) -> Handled:
        """Answer one request."""
        handled = self.router.handle(request)
        self._wake.set()
        return handled

    def _move(self) -> None:
        """Sleep until something is due, or until a request may have changed when that is."""
        while not self._is_stopped:
            self._wake.wait(self.cluster.seconds_to_next_change())
            self._wake.clear()
            self.cluster.advance()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handle: Callable[[Request], Handled]) -> None:
        super().__init__(address, _Handler)
        self.handle_request_of_arm = handle


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in one segment: else each answer waits 40 ms for a delayed acknowledgement.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    timeout = 30

    def handle_any(self) -> None:
        """Answer one request of whatever method."""
        server = self.server
        if not isinstance(server, _Server):
            raise TypeError("the handler belongs to the stand-in")
        handled = server.handle_request_of_arm(self._read())
        if handled.delay_seconds:
            time.sleep(handled.delay_seconds)
        if handled.answer is None:
            self.close_connection = True
            return
        self._write(handled.answer)

    do_GET = do_PUT = do_DELETE = do_POST = handle_any  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the log belongs to the pods."""

    def _read(self) -> Request:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        return Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={key.lower(): value for key, value in self.headers.items()},
            body=self.rfile.read(length),
        )

    def _write(self, answer: Answer) -> None:
        reason = HTTPStatus(answer.status).phrase
        self.send_response(answer.status, reason)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        if "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()
