"""The HTTP of an API server in front of the cluster in memory, for what a provider asks; it can be made to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client as kube

from kaito_hooks.providers.karpenter.client import connect
from kaito_laptop.core.cluster import ClusterError, Conflict, Key, Manifest, NotFound
from kaito_laptop.store.memory import MemoryCluster

Answer = tuple[int, Any]
NO_SUCH_CLAIM = (
    b'{"kind":"Status","reason":"NotFound","code":404,"details":{"kind":"nodeclaims","name":"x"}}'
)
FAULTS: dict[str, tuple[int, bytes] | None] = {
    "server error": (503, b'{"kind":"Status","code":503}'),
    "page of a proxy": (404, b"<html>not here</html>"),
    "other kind": (200, b'{"kind":"Status","status":"Success"}'),
    "no answer": None,
    "no cluster": (404, b'{"kind":"Status","reason":"NotFound","code":404,"details":{}}'),
    "unauthorized": (401, b'{"kind":"Status","reason":"Unauthorized","code":401}'),
}
"""Status and body in place of an answer; None for a connection that ends."""


class KubeApi:
    """NodeClaims and events, as the API server answers; `faults` are answered first, one by one."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.faults: list[tuple[int, bytes] | None] = []
        """Status and body, or None for a connection that ends; each replaces one answer."""
        self.applies = False
        """Whether a request that is answered by a fault is carried out all the same."""
        self.page = 500
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        """What an API server says."""
        self.asked.append((method, path))
        try:
            return self._answer(method, path, query, body)
        except ClusterError as error:
            return error.status, _status(error, path)

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Answer:
        if path == "/apis/events.k8s.io/v1/namespaces/default/events":
            return 200, {"kind": "EventList", "items": self._events(query["fieldSelector"])}
        try:
            resource = self.cluster.resource("karpenter.sh/v1", "nodeclaims")
        except NotFound:
            return 404, "404 page not found"
        _, _, name = path.partition("/nodeclaims/")
        key = Key(resource, name)
        if method == "POST":
            return 201, self.cluster.create(body)
        if method == "DELETE":
            wanted = body.get("preconditions", {}).get("resourceVersion")
            if wanted not in (None, self.cluster.get(key)["metadata"]["resourceVersion"]):
                raise Conflict("Precondition failed: resourceVersion")
            self.cluster.delete(key, uid=body.get("preconditions", {}).get("uid"))
            return 200, {"kind": "Status", "status": "Success"}
        if name:
            return 200, self.cluster.get(key)
        items = self.cluster.list(resource)
        at = int(query.get("continue", "0"))
        size = min(int(query["limit"]), self.page)
        more = str(at + size) if at + size < len(items) else ""
        found = {"kind": "NodeClaimList", "apiVersion": "karpenter.sh/v1"}
        page = {"metadata": {"resourceVersion": "7", "continue": more}}
        return 200, {**found, **page, "items": list(items[at : at + size])}

    def _events(self, selector: str) -> list[Manifest]:
        """In the words of events.k8s.io."""
        wanted = dict(each.split("=") for each in selector.split(","))
        return [
            {
                "reason": event["reason"],
                "note": event["message"],
                "deprecatedLastTimestamp": event["lastTimestamp"],
            }
            for event in self.cluster.list(self.cluster.resource("v1", "Event"), "default")
            if event["involvedObject"]["name"] == wanted["regarding.name"]
        ]


def _status(error: ClusterError, path: str) -> Manifest:
    name = path.partition("/nodeclaims/")[2]
    details = {"kind": "nodeclaims", "group": "karpenter.sh", **({"name": name} if name else {})}
    found = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": error.status}
    return {
        **found,
        "reason": type(error).__name__,
        "message": error.message,
        "details": details,
    }


@contextmanager
def serving(api: KubeApi) -> Iterator[kube.ApiClient]:
    """A client of it, over loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            body = json.loads(raw) if raw else None
            if api.faults:
                fault = api.faults.pop(0)
                if api.applies:
                    api.answer(self.command, url.path, query, body)
                if fault is None:
                    self.close_connection = True
                    return
                status, data = fault
            else:
                status, found = api.answer(self.command, url.path, query, body)
                data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            is_json = data.startswith(b"{")
            self.send_header("Content-Type", "application/json" if is_json else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            for name, value in api.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    configuration = kube.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    try:
        with connect(configuration) as connection:
            yield connection
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
