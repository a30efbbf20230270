"""A registry, a web server and a very small model, all on this machine."""

import base64
import json
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.registry.server import Registry
from kaito_runtime.pod import threads
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer.transport import Transport

from tests.harness.tiny_model import make_tiny_model

threads.prepare()  # before anything imports torch

USER, PASSWORD = "team", "s3cret-pass"

FailureOf = Callable[..., Failure]
"""Runs a program with these arguments and returns the Failure that it must raise."""


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry"), {USER: PASSWORD}, ["public"]) as running:
        yield running


@pytest.fixture
def credentials(tmp_path: Path, registry: Registry) -> Path:
    return write_credentials(tmp_path / "config.json", registry.address, USER, PASSWORD)


@pytest.fixture
def password() -> str:
    return PASSWORD


@pytest.fixture
def wrong_credentials(tmp_path: Path, registry: Registry) -> Path:
    return write_credentials(tmp_path / "wrong.json", registry.address, USER, "not-" + PASSWORD)


@pytest.fixture
def transport() -> Iterator[Transport]:
    with closing(Transport(first_delay_seconds=0.001)) as transport:
        yield transport


@pytest.fixture
def adapter_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(random.Random(1).randbytes(300_000))
    return folder


def write_credentials(path: Path, registry: str, user: str, password: str) -> Path:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    return path


class Web(ThreadingHTTPServer):
    """Serves `files` by path; honours Range unless told not to, and may cut or fail answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.files: dict[str, bytes] = {}
        self.has_ranges = True
        self.failures: list[int] = []
        """Statuses to answer before the first success."""
        self.cuts: list[int] = []
        """How many bytes to send before hanging up, per answer."""
        self.sent = 0
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        """Sent with every answer."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class WebHandler(SimpleHTTPRequestHandler):
    server: Web
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        web = self.server
        web.requests.append(self.path)
        body = web.files.get(self.path.partition("?")[0])
        if web.failures:
            self._send(web.failures.pop(0), b"busy")
        elif body is None:
            self._send(404, b"nothing here")
        elif web.has_ranges and (wanted := self.headers.get("Range")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = min(int(last or len(body)), len(body) - 1) + 1
            part = body[int(first) : stop]
            self._send(206, part, {"Content-Range": f"bytes {first}-{stop - 1}/{len(body)}"})
        else:
            self._send(200, body)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = {"ETag": f'"{zlib.crc32(body):x}"'} if status == 200 else {}
        named = {"Content-Length": str(len(body)), **etag, **self.server.headers, **(headers or {})}
        for key, value in named.items():
            self.send_header(key, value)
        self.end_headers()
        if status < 300 and self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
            self.close_connection = True
        if self.command == "HEAD":
            return
        self.server.sent += len(body)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def failure_of() -> FailureOf:
    def call(program: Callable[..., Any], *arguments: Any, **named: Any) -> Failure:
        with pytest.raises(Failure) as caught:
            program(*arguments, **named)
        return caught.value

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("weights"))
