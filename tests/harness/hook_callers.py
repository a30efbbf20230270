"""Calling hooks in this process, and letting checkers see every call."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kaito_laptop.metacontroller.hooks import HEADERS, HookAnswer, HookCaller, HookUnreachableError


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


WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiCaller:
    """Calls WSGI applications in this process, by the host and port of the URL."""

    def __init__(self, apps: Mapping[str, WsgiApp]) -> None:
        self._apps = apps

    def __call__(self, url: str, body: bytes, _timeout_seconds: float, /) -> HookAnswer:
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
