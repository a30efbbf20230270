"""HTTP to a real API server, over the connections of the official client, with our typed errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.config import new_client_from_config

from kaito_laptop.core.cluster import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    Manifest,
    NotFound,
)

TIMEOUT = urllib3.Timeout(connect=5, read=30)
TRIES, LONGEST_WAIT_SECONDS = 10, 2.0
SILENCE_SECONDS = 120
"""A watch hears at least a bookmark a minute."""
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_BY_STATUS: dict[int, type[ClusterError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
}


class Gone(ClusterError):
    """410: a watch may not go on from so old a version."""

    status = 410


class Connection:
    """Requests with the address and the credentials of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        client = new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        found = client.configuration
        self._host = str(found.host)
        self._pool: urllib3.PoolManager = client.rest_client.pool_manager
        self._headers = {
            each["key"]: each["value"]
            for each in found.auth_settings().values()
            if each["in"] == "header"
        }

    def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
    ) -> Any:
        """Return the answer as JSON; raise a `ClusterError` when it is no success."""
        content = None if body is None else json.dumps(body).encode()
        for _ in range(TRIES):
            response = self._send(method, path, content, query, accept)
            if response.status != 429 or "Retry-After" not in response.headers:
                break
            # The server starts or is busy, and says when to come back.
            time.sleep(min(float(response.headers["Retry-After"]), LONGEST_WAIT_SECONDS))
        if response.status >= 300:
            raise _error(response.status, response.data)
        return json.loads(response.data)

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        query: Mapping[str, str] | None,
        accept: str,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(
                method,
                self._url(path, query),
                body=content,
                headers={**self._headers, "Accept": accept, "Content-Type": "application/json"},
                timeout=TIMEOUT,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(f"{method} {path}: {error}") from error

    def stream(self, path: str, query: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Return the open answer of a watch; `lines` reads it."""
        response = self._pool.request(
            "GET",
            self._url(path, query),
            headers={**self._headers, "Accept": "application/json"},
            preload_content=False,
            timeout=urllib3.Timeout(connect=5, read=SILENCE_SECONDS),
            retries=False,
        )
        if response.status >= 300:
            raise _error(response.status, response.data)
        return response

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self._host}{path}" + (f"?{urlencode(query)}" if query else "")


def lines(response: urllib3.BaseHTTPResponse) -> Iterator[Manifest]:
    """Read one JSON object per line, until the server ends the answer."""
    rest = b""
    for block in response.stream(65536, decode_content=True):
        *whole, rest = (rest + block).split(b"\n")
        yield from (json.loads(line) for line in whole if line)


def error_of(status: Manifest) -> ClusterError:
    """Return the error that a `Status` object stands for."""
    code, message = int(status.get("code") or 500), str(status.get("message") or status)
    if code == 409 and status.get("reason") == "AlreadyExists":
        return AlreadyExists(message)
    if code == 410:
        return Gone(message)
    if code == 422:
        message = _as_kubectl_says(status) or message
    return _BY_STATUS.get(code, ClusterError)(message)


def _as_kubectl_says(status: Manifest) -> str:
    """Return all causes in the form in which kubectl lists them."""
    details = status.get("details") or {}
    causes = [f"{each['field']}: {each['message']}" for each in details.get("causes", [])]
    if not causes:
        return ""
    listed = causes[0] if len(causes) == 1 else "".join(f"\n* {cause}" for cause in causes)
    return f'The {details["kind"]} "{details["name"]}" is invalid: {listed}'


def _error(code: int, body: bytes) -> ClusterError:
    try:
        status = json.loads(body)
    except ValueError:
        status = {"message": body.decode(errors="replace")[:500]}
    return error_of({**status, "code": code})
