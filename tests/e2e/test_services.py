"""A Service on loopback leads to ready pods, as the real EndpointSlices say."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kaito_laptop.kubelet.services import ServiceProxy

from tests.e2e.real_story import RealStory
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
    story: RealStory, model: HTTPServer
) -> None:
    port = int(model.server_address[1])
    proxy = ServiceProxy(story.cluster, lambda address: ("127.0.0.1", port))
    try:
        story.apply(INFERENCE)
        story.nodes_come(SERVED)
        assert get(story, proxy) == b"", "nothing is ready yet"
        story.serves(SERVED)
        story.soon(lambda: get(story, proxy) == b"hello")
        (pod,) = story.pods(SERVED)
        assert pod["status"]["podIP"].startswith("10.88."), "EndpointSlices refuse loopback"
        story.kubelet.unready(pod, SERVED)
        story.soon(lambda: get(story, proxy) == b"")
        story.becomes("InferenceReady", SERVED, status=False)
    finally:
        proxy.stop()


def get(story: RealStory, proxy: ServiceProxy) -> bytes:
    """What the Service answers; nothing while it leads nowhere."""
    story.soon(lambda: proxy.url(SERVED, 80, story.namespace) is not None)
    url = str(proxy.url(SERVED, 80, story.namespace))
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().read()
    return b""
