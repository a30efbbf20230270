"""A Service on loopback leads to ready pods, as the real EndpointSlices say."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kaito_laptop.kubelet.services import ServiceProxy

from tests.e2e.real_world import RealWorld
from tests.harness.story import INFERENCE, SERVED


class Model(BaseHTTPRequestHandler):
    """Answers in the place of a pod."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def model() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_service_leads_to_its_pod_while_that_is_ready(
    world: RealWorld, model: HTTPServer
) -> None:
    port = int(model.server_address[1])
    proxy = ServiceProxy(world.cluster, lambda address: ("127.0.0.1", port))
    try:
        world.apply(INFERENCE)
        world.nodes_come(SERVED)
        assert get(world, proxy) == b"", "nothing is ready yet"
        world.serves(SERVED, tuned=False)
        world.soon(lambda: get(world, proxy) == b"hello")
        (pod,) = world.pods(SERVED)
        assert pod["status"]["podIP"].startswith("10.88."), "EndpointSlices refuse loopback"
        world.kubelet.unready(pod, SERVED)
        world.soon(lambda: get(world, proxy) == b"")
        world.becomes("InferenceReady", SERVED, status=False)
    finally:
        proxy.stop()


def get(world: RealWorld, proxy: ServiceProxy) -> bytes:
    """What the Service answers; nothing while it leads nowhere."""
    world.soon(lambda: proxy.url(SERVED, 80, world.namespace) is not None)
    url = str(proxy.url(SERVED, 80, world.namespace))
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().read()
    return b""
