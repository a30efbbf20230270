"""Metrics for Prometheus, and a thread that serves them while a program works."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

disable_created_metrics()  # they double the series of each counter

SCRAPES_LIMIT = 8
"""Connections at a time: Prometheus needs one, and each costs a thread."""
SCRAPE_SECONDS = 5.0
"""How long a read or a write of a connection may take; Prometheus gives up after ten."""


def process_registry() -> CollectorRegistry:
    """Return a registry with the figures of this process: memory, processor, open files."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def serve_in_background(registry: CollectorRegistry, host: str, port: int) -> ThreadingHTTPServer:
    """Answer `GET /metrics` on daemon threads until `shutdown` is called.

    Whoever scrapes shares the process with a training: a client that is slow, or one of too many, is
    hung up on.
    """
    free = threading.BoundedSemaphore(SCRAPES_LIMIT)

    class Handler(BaseHTTPRequestHandler):
        timeout = SCRAPE_SECONDS

        def do_GET(self) -> None:
            is_known = self.path.partition("?")[0] == "/metrics"
            body = generate_latest(registry) if is_known else b"see /metrics\n"
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
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
