"""Figures in Prometheus' text format, and a thread that serves them while a program works."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SCRAPES_LIMIT = 8
"""Connections at a time: Prometheus needs one, and each costs a thread."""
SCRAPE_SECONDS = 5.0
"""How long a read or a write of a connection may take; Prometheus gives up after ten."""


class Gauges:
    """Named figures; a name that ends in `_total` is a counter."""

    def __init__(self, **described: str):
        self._help = described
        self._values: dict[str, float] = {}
        self._lock = threading.Lock()

    def set(self, **values: float) -> None:
        """Set figures by name."""
        with self._lock:
            self._values.update(values)

    def add(self, **amounts: float) -> None:
        """Increase figures by name."""
        with self._lock:
            for name, amount in amounts.items():
                self._values[name] = self._values.get(name, 0) + amount

    def text(self) -> str:
        """Return all figures that have a value."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, help_text in self._help.items():
            if name in values:
                kind = "counter" if name.endswith("_total") else "gauge"
                lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
                lines.append(f"{name} {values[name]:.10g}")
        return "\n".join([*lines, ""])


def serve_in_background(text: Callable[[], str], host: str, port: int) -> ThreadingHTTPServer:
    """Answer `GET /metrics` on daemon threads until `shutdown` is called.

    Whoever scrapes shares the process with a training: a client that is slow, or one of too many, is
    hung up on.
    """
    free = threading.BoundedSemaphore(SCRAPES_LIMIT)

    class Handler(BaseHTTPRequestHandler):
        timeout = SCRAPE_SECONDS

        def do_GET(self) -> None:
            is_known = self.path.partition("?")[0] == "/metrics"
            body = text().encode() if is_known else b"see /metrics\n"
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a scrape is no event."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def process_request(self, request: Any, client_address: Any) -> None:
            if free.acquire(blocking=False):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                free.release()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Log nothing: clients that hang up are no event either."""

    server = Server((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server
