"""Calling a hook over HTTP."""

from __future__ import annotations

import gzip
import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
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

    def __call__(self, url: str, body: bytes, timeout_seconds: float, /) -> HookAnswer:
        """Raise `HookUnreachableError` when there is no answer."""
        ...


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
