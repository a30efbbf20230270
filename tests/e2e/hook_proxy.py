"""Where Metacontroller finds the hooks: one address, behind which the story of the moment answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kaito_laptop.metacontroller.hooks import HookAnswer, HookUnreachableError

HOST = "127.0.0.1"
SHORTEST_RESYNC_SECONDS, TIME_RUNS = 1.0, 20
MOST_RESYNCS_PER_SECOND = 10
Answer = Callable[[str, bytes], HookAnswer]
"""Answers a body that was posted to a path."""


class HookProxy:
    """Serves until it is stopped; without a story nobody answers."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    if proxy.answer is None or not body:
                        raise HookUnreachableError("no story plays, or the caller is gone")
                    answer = proxy.answer(self.path, body)
                except HookUnreachableError:
                    self.close_connection = True
                    return
                content = answer.body
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    if name not in ("content-length", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the hooks have their own log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server((HOST, 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name="hooks"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address that the CompositeControllers name."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def sooner(answer: HookAnswer, parents: int) -> HookAnswer:
    """Let the time of resyncs run faster, so that a story of minutes takes seconds; many take turns."""
    try:
        content = json.loads(answer.body)
        seconds = content["resyncAfterSeconds"]
    except (ValueError, KeyError, TypeError):
        return answer
    shortest = max(SHORTEST_RESYNC_SECONDS, parents / MOST_RESYNCS_PER_SECOND)
    content["resyncAfterSeconds"] = max(shortest, seconds / TIME_RUNS)
    return replace(answer, body=json.dumps(content).encode())
