"""Calling a hook over HTTP, or in this process, and letting checkers see every call."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from kaito_laptop.core.cluster import Manifest

DEFAULT_TIMEOUT_SECONDS = 10.0
HEADERS = {
    "Content-Type": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": "Go-http-client/1.1",
}


class HookUnreachableError(Exception):
    """No answer at all: refused, timed out or cut off."""


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What came back, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """Header names in lower case."""
    body: bytes


class HookCaller(Protocol):
    """Posts a body to a hook."""

    def __call__(self, url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
        """Raise `HookUnreachableError` when there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class HookCall:
    """One request and its answer, for checkers."""

    url: str
    request: bytes
    answer: HookAnswer

    @property
    def path(self) -> str:
        """The path of the URL, such as /workspace/sync."""
        return urlsplit(self.url).path

    def request_json(self) -> Any:
        """Return the request as JSON."""
        return json.loads(self.request)


Checker = Callable[[HookCall], None]


class CheckedCaller:
    """Shows each call to checkers, which raise when the contract is broken."""

    def __init__(self, caller: HookCaller, checkers: Sequence[Checker]) -> None:
        self._caller = caller
        self._checkers = checkers

    def __call__(self, url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
        """Call, then check."""
        answer = self._caller(url, body, timeout_seconds)
        for check in self._checkers:
            check(HookCall(url, body, answer))
        return answer


class HttpCaller:
    """Calls hooks that run as processes; names of Services stand for addresses."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses

    def __call__(self, url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
        """Post over HTTP/1.1 to the address that stands for `name.namespace:port`."""
        parts = urlsplit(url)
        authority = f"{parts.hostname}:{parts.port or 80}"
        address = self._addresses.get(authority, authority)
        connection = http.client.HTTPConnection(address, timeout=timeout_seconds)
        try:
            connection.request("POST", parts.path or "/", body, HEADERS)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise HookUnreachableError(f'Post "{url}": {error}') from error
        finally:
            connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        return HookAnswer(response.status, headers, content)


WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiCaller:
    """Calls WSGI applications in this process, by the host and port of the URL."""

    def __init__(self, apps: Mapping[str, WsgiApp]) -> None:
        self._apps = apps

    def __call__(self, url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
        """Run the application that answers for `name.namespace:port`."""
        parts = urlsplit(url)
        host, port = str(parts.hostname), str(parts.port or 80)
        app = self._apps.get(f"{host}:{port}")
        if app is None:
            raise HookUnreachableError(f'Post "{url}": connection refused')
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "SERVER_NAME": host,
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": HEADERS["Content-Type"],
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": f"{host}:{port}",
            "HTTP_USER_AGENT": HEADERS["User-Agent"],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            started.append((status, headers))

        chunks = app(environ, start)
        try:
            content = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        status, headers = started[-1]
        return HookAnswer(
            int(status.split()[0]), {name.lower(): value for name, value in headers}, content
        )


def url_of(webhook: Manifest) -> str:
    """Return the address of a webhook; `url` wins over `service`."""
    if webhook.get("url"):
        return str(webhook["url"])
    service = webhook["service"]
    scheme, port = service.get("protocol", "http"), service.get("port", 80)
    path = webhook.get("path", "").lstrip("/")
    return f"{scheme}://{service['name']}.{service['namespace']}:{port}/{path}"


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def timeout_of(webhook: Manifest) -> float:
    """Return the seconds of a Go duration such as "1m30s"; nothing or nonsense is the default."""
    found = _DURATION.findall(str(webhook.get("timeout", "")))
    return sum(float(number) * _SECONDS[unit] for number, unit in found) or DEFAULT_TIMEOUT_SECONDS


def is_strict(hook: Manifest) -> bool:
    """Whether unknown fields in the answer fail the sync: the default from version v2 on."""
    mode = hook["webhook"].get("responseUnMarshallMode")
    return bool(mode == "strict" if mode else hook.get("version", "v1") == "v2")
