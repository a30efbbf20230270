"""The few answers of an API server that the orphan sweep needs, over HTTP, as the official client reads them."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client as kube

PROVIDER_ID = "azure:///subscriptions/s/resourceGroups/MC_laptop_laptop_laptop/providers/x/0"


class ApiStub:
    """What it holds is plain data; `broken` paths answer 500."""

    def __init__(self) -> None:
        self.machines: list[Any] = []
        self.provider_ids = [PROVIDER_ID]
        self.crd_created = "2025-01-01T00:00:00Z"
        self.data: dict[str, Any] = {}
        self.page = 500
        self.broken: set[str] = set()
        self.broken_answer = (500, {"kind": "Status", "code": 500})
        self.expired = False
        self.asked: list[Any] = []

    def answer(self, method: Any, path: Any, query: Any, body: Any) -> Any:
        self.asked.append((method, path))
        kind = path.rpartition("/")[2]
        if kind in self.broken:
            return self.broken_answer
        if kind == "machines":
            at = int(query.get("continue", ["0"])[0])
            if at and self.expired:
                return 410, {"kind": "Status", "reason": "Expired", "code": 410}
            items = [{"metadata": {"uid": uid}} for uid in self.machines[at : at + self.page]]
            more = at + self.page < len(self.machines)
            return 200, {
                "items": items,
                "metadata": {"continue": str(at + self.page) if more else ""},
            }
        if kind == "nodes":
            nodes = [{"spec": {"providerID": item}} for item in self.provider_ids]
            return 200, {"items": nodes, "metadata": {"resourceVersion": "1"}}
        if kind == "machines.kaito.sh":
            return 200, {"metadata": {"creationTimestamp": self.crd_created}}
        if method == "PATCH":
            self.data.update(body["data"])
        return 200, {"data": self.data}


@contextmanager
def api_server() -> Any:
    """The stub, and a client of it."""
    stub = ApiStub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(raw) if raw and raw != b"null" else None
            status, found = stub.answer(self.command, url.path, parse_qs(url.query), body)
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = handle_any  # noqa: N815

        def log_message(self, format: Any, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    configuration = kube.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    try:
        with kube.ApiClient(configuration) as connection:
            yield stub, connection
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
