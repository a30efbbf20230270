"""Azure's client speaks to the stand-in without a socket: ten thousand lives open none."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest._http_response_impl import HttpResponseImpl

from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.interference import Handled

Handle = Callable[[Request], Handled | None]
"""None for a connection that is refused."""


class InProcess(HttpTransport[Any, Any]):
    """Sends by calling a function; each process of the hook has one of its own."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def __exit__(self, *args: object) -> None:
        """Nothing to close."""

    def send(self, request: Any, **options: Any) -> Any:
        """One request, and what becomes of it."""
        url = urlsplit(request.url)
        body = request.content or b""
        handled = self._handle(
            Request(
                request.method,
                url.path,
                dict(parse_qsl(url.query)),
                {key.lower(): value for key, value in request.headers.items()},
                body if isinstance(body, bytes) else str(body).encode(),
            )
        )
        if handled is None:
            raise ServiceRequestError("refused")
        if handled.answer is None:
            raise ServiceResponseError("dropped")
        headers = dict(handled.answer.headers)
        response = HttpResponseImpl(
            request=request,
            internal_response=_Closed(),
            status_code=handled.answer.status,
            reason="",
            content_type=headers.get("Content-Type", ""),
            headers=headers,
            stream_download_generator=None,
        )
        response._content = handled.answer.body
        return response


class _Closed:
    """What HttpResponseImpl closes."""

    closed: HTTPResponse | None = None

    def close(self) -> None:
        """Nothing to close."""
