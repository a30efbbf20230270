"""HTTP with the standard library alone: retries with back-off, redirects, kept-alive connections.

One `Transport` serves registries and web servers. It answers any status; what a status means is for
the caller to say.
"""

import http.client
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

TRIES = 5
TIMEOUT_SECONDS = 60.0
LONGEST_DELAY_SECONDS = 30.0
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
RETRIED_STATUS = frozenset({429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
BLOCK_BYTES = 1024 * 1024

CONNECTION_ERRORS = (OSError, http.client.HTTPException)
"""What http.client raises for refused, reset, timed-out and cut connections."""


class UnreachableError(Exception):
    """No usable answer came, after all tries. The text names host and cause, never a query."""


def is_loopback(host: str) -> bool:
    """Return true for the hosts that are spoken to over plain HTTP."""
    return (urlsplit(f"//{host}").hostname or "") in LOOPBACK_HOSTS


def public_form(url: str) -> str:
    """Return the URL without user, password, query and fragment: these may be secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass
class Answer:
    """A response whose body has not been read yet."""

    status: int
    headers: http.client.HTTPMessage
    url: str
    """The URL that answered, after redirects."""
    _response: http.client.HTTPResponse
    _connection: http.client.HTTPConnection
    _release: "list[http.client.HTTPConnection]"

    def read(self, size: int | None = None) -> bytes:
        """Return the body, or its next bytes; empty at the end."""
        body = self._response.read() if size is None else self._response.read(size)
        if size is None or not body:
            self.close()
        return body

    def close(self) -> None:
        """Give the connection back, if the body was read to its end."""
        if self._response.isclosed() and not self._response.will_close:
            if self._connection not in self._release:
                self._release.append(self._connection)
        else:
            self._connection.close()

    @property
    def length(self) -> int | None:
        """The value of Content-Length."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isdigit() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass
class Transport:
    """Sends requests, each up to five times."""

    first_delay_seconds: float = 0.5
    """Doubled after each try; a Retry-After of the server comes first."""
    _idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = field(default_factory=dict)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        tries: int = TRIES,
    ) -> Answer:
        """Return the answer to one request; 429 and 5xx only after the last try."""
        headers = {"User-Agent": "kaito-runtime", **(headers or {})}
        for attempt in range(1, tries + 1):
            try:
                answer = self._follow(method, url, headers, body)
            except CONNECTION_ERRORS as error:
                if attempt == tries:
                    raise UnreachableError(self.explain(url, error)) from error
                self.wait(attempt)
                continue
            if answer.status not in RETRIED_STATUS or attempt == tries:
                return answer
            answer.read()
            self.wait(attempt, answer.headers.get("Retry-After", ""))
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections that are kept alive."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def wait(self, attempt: int, retry_after: str = "") -> None:
        """Wait before the next try, as long as the server asks or doubling each time."""
        delay = self.first_delay_seconds * 2 ** (attempt - 1)
        if retry_after.isdigit():
            delay = float(retry_after)
        time.sleep(min(delay, LONGEST_DELAY_SECONDS))

    def explain(self, url: str, error: Exception) -> str:
        """Return what went wrong with a connection, in words a user can act on."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {host} is not trusted: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"{host} does not speak TLS: {error.reason}"
        if isinstance(error, TimeoutError):
            return f"{host} did not answer in {TIMEOUT_SECONDS:.0f} seconds"
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{host} is not reachable: {cause}"

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        for _ in range(10):
            answer = self._send(method, url, headers, body)
            location = answer.headers.get("Location")
            if method not in ("GET", "HEAD") or answer.status not in REDIRECTS or not location:
                return answer
            answer.read()
            target = urljoin(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                # Storage behind a registry has its own signature in the URL; the registry's
                # credentials are none of its business.
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            url = target
        raise http.client.HTTPException("it redirects in a circle")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        parts = urlsplit(url)
        idle = self._idle.setdefault((parts.scheme, parts.netloc), [])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        while True:
            reused = bool(idle)
            connection = idle.pop() if reused else _connect(parts)
            try:
                connection.request(method, target, body=body, headers=dict(headers))
                response = connection.getresponse()
            except CONNECTION_ERRORS:
                connection.close()
                if reused:  # the server closed it while it was idle: that is no failed try
                    continue
                raise
            return Answer(response.status, response.headers, url, response, connection, idle)


@contextmanager
def given_or_new(transport: Transport | None) -> Iterator[Transport]:
    """Yield the transport of the caller, or one of its own that is closed at the end."""
    if transport is not None:
        yield transport
        return
    with closing(Transport()) as own:
        yield own


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not is_loopback(parts.netloc) and not urllib.request.proxy_bypass(host):
        through = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        tunnel = _connection_class(parts.scheme)(
            through.hostname or "", through.port or 3128, timeout=TIMEOUT_SECONDS
        )
        tunnel.set_tunnel(host, parts.port or tunnel.default_port)
        return tunnel
    connect = _connection_class(parts.scheme)
    return connect(host, parts.port, timeout=TIMEOUT_SECONDS)


def _connection_class(scheme: str) -> type[http.client.HTTPConnection]:
    return http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
