"""The way to ARM: Azure's own client, told to ask once, soon, and nobody else.

By default it tries four times, sleeps as long as a server says, waits 300 seconds for an answer and
follows links to any host with our token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest
from azure.mgmt.containerservice import ContainerServiceClient

from kaito_hooks.kube.objects import text
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks.errors import (
    CredentialUnavailable,
    Unanswered,
    Unreachable,
    Unreadable,
)
from kaito_hooks.providers.aks.identity import NoToken, StandInToken, credential_of
from kaito_hooks.providers.aks.responses import Response
from kaito_hooks.providers.aks.settings import AksSettings

CONNECT_SECONDS = 2
READ_SECONDS = 4
CHANGE_SECONDS = 15
"""AKS checks a request before it answers."""
MOST_PAGES = 20
"""A cluster has at most 100 pools."""
API_VERSION = "2026-08-01"
"""The client's own."""


class Elsewhere(AzureError):
    """A link or a redirect led away from our cluster."""


class OurClusterOnly(SansIOHTTPPolicy[Any, Any]):
    """Refuses, before the token is added, every address that is not below our cluster's own.

    Besides, the sizes and the quota of the region may be read.
    """

    def __init__(self, settings: AksSettings) -> None:
        super().__init__()
        self._origin = urlsplit(settings.arm_endpoint)[:2]
        self._path = cluster_path(settings).lower()
        compute = f"/subscriptions/{settings.subscription_id}/providers/microsoft.compute".lower()
        region = f"{compute}/locations/{settings.location}/usages"
        self._readable = (f"{compute}/skus", region) if settings.location else ()

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Look at the address of each request, those of next pages included."""
        url = urlsplit(request.http_request.url)
        path = url.path.lower()
        is_below = path == self._path or path.startswith(f"{self._path}/")
        is_readable = request.http_request.method == "GET" and path in self._readable
        if (
            url[:2] != self._origin
            or not (is_below or is_readable)
            or "/../" in path
            or "%2e" in path
        ):
            raise Elsewhere("the address is not our cluster's")


def build(
    settings: AksSettings, transport: HttpTransport[Any, Any] | None = None
) -> tuple[ContainerServiceClient, Callable[[], str]]:
    """The client, and what keeps it from getting a token, in a few words.

    Without a transport it speaks HTTP over sockets of its own.
    """
    # Its warnings are tracebacks of answers that we judge ourselves.
    logging.getLogger("azure").setLevel(logging.ERROR)
    options: dict[str, Any] = {
        "base_url": settings.arm_endpoint,
        "retry_total": 0,
        "permit_redirects": False,
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "per_retry_policies": [OurClusterOnly(settings)],
        "user_agent": "kaito-python",
        "logging_enable": False,
        "credential_scopes": [f"{settings.arm_endpoint}/.default"],
    }
    if transport is not None:
        options["transport"] = transport
    if settings.is_stand_in:
        stand_in = StandInToken()
        options["authentication_policy"] = stand_in
        return ContainerServiceClient(stand_in, settings.subscription_id, **options), lambda: ""
    credential = credential_of(settings, CONNECT_SECONDS, READ_SECONDS)
    client = ContainerServiceClient(credential, settings.subscription_id, **options)
    return client, lambda: credential.unavailable_reason(options["credential_scopes"][0])


def cluster_path(settings: AksSettings) -> str:
    """Where ARM has the cluster."""
    return (
        f"/subscriptions/{settings.subscription_id}"
        f"/resourceGroups/{settings.resource_group}"
        f"/providers/Microsoft.ContainerService/managedClusters/{settings.cluster_name}"
    )


def pools_path(settings: AksSettings) -> str:
    """Where ARM has its agent pools."""
    return f"{cluster_path(settings)}/agentPools"


def send(operation: Callable[..., Any], *args: Any, **options: Any) -> Response:
    """Send one request and return the raw response, whatever the library thinks of it.

    Raise `ProviderError` when there is none.
    """
    responses: list[Response] = []

    def keep(response: PipelineResponse[Any, Any]) -> None:
        http = response.http_response
        headers = {str(key).lower(): str(value) for key, value in http.headers.items()}
        responses.append(Response(http.status_code, headers, bytes(http.read())))

    failure: Exception | None = None
    try:
        operation(*args, raw_response_hook=keep, **options)
    except Exception as error:  # noqa: BLE001  the library's list is open; the response decides
        failure = error
    if not responses:
        raise _error(failure)
    return responses[-1]


def send_pages(client: ContainerServiceClient, path: str) -> list[Response]:
    """Send one request per page; raise `ProviderError` unless the last response is the last page.

    The client's own list makes an object of each value, which for a hundred pools takes a tenth of a second.
    """
    link, responses = f"{path}?api-version={API_VERSION}", list[Response]()
    while link:
        if len(responses) == MOST_PAGES:
            raise Unreadable(detail="the list has no end")
        responses.append(send(client.send_request, HttpRequest("GET", link)))
        link = text(responses[-1].json.get("nextLink")) if responses[-1].status == 200 else ""
    return responses


def _error(error: Exception | None) -> ProviderError:
    """What it means that there is no response: only what was never sent is known not to have happened."""
    match error:
        case NoToken():
            return CredentialUnavailable(error.code)
        case Elsewhere():
            return Unreadable(detail=str(error))
        case ServiceRequestError():
            return Unreachable(type(error).__name__)
    return Unanswered(type(error).__name__ if error else "")
