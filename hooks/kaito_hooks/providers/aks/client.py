"""The way to ARM: Azure's own client, told to ask once, soon, and nobody else.

By default it tries four times, sleeps as long as a server says, waits 300 seconds for an answer and
follows links to any host with our token (aks.md 0.8 to 0.10).
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
from kaito_hooks.machine.errors import (
    CredentialUnavailable,
    ProviderError,
    Unanswered,
    Unreachable,
    Unreadable,
)
from kaito_hooks.providers.aks.identity import NoToken, StandInToken, credential_of
from kaito_hooks.providers.aks.replies import Reply
from kaito_hooks.settings import MachineSettings

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

    def __init__(self, settings: MachineSettings) -> None:
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
    settings: MachineSettings, transport: HttpTransport[Any, Any] | None = None
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
    return client, lambda: credential.trouble(options["credential_scopes"][0])


def cluster_path(settings: MachineSettings) -> str:
    """Where ARM has the cluster."""
    return (
        f"/subscriptions/{settings.subscription_id}"
        f"/resourceGroups/{settings.resource_group}"
        f"/providers/Microsoft.ContainerService/managedClusters/{settings.cluster_name}"
    )


def pools_path(settings: MachineSettings) -> str:
    """Where ARM has its agent pools."""
    return f"{cluster_path(settings)}/agentPools"


def ask(operation: Callable[..., Any], *args: Any, **options: Any) -> Reply:
    """Send one request and return the raw reply, whatever the library thinks of it.

    Raise `ProviderError` when there is none.
    """
    replies: list[Reply] = []

    def keep(response: PipelineResponse[Any, Any]) -> None:
        http = response.http_response
        headers = {str(key).lower(): str(value) for key, value in http.headers.items()}
        replies.append(Reply(http.status_code, headers, bytes(http.read())))

    trouble: Exception | None = None
    try:
        operation(*args, raw_response_hook=keep, **options)
    except Exception as error:  # What the library may raise is an open list; the reply decides.
        trouble = error
    if not replies:
        raise _trouble(trouble)
    return replies[-1]


def ask_pages(client: ContainerServiceClient, path: str) -> list[Reply]:
    """Send one request per page; raise `ProviderError` unless the last reply is the last page.

    The client's own list makes an object of each value, which for a hundred pools takes a tenth of a second.
    """
    link, replies = f"{path}?api-version={API_VERSION}", list[Reply]()
    while link:
        if len(replies) == MOST_PAGES:
            raise Unreadable(detail="the list has no end")
        replies.append(ask(client.send_request, HttpRequest("GET", link)))
        link = text(replies[-1].json.get("nextLink")) if replies[-1].status == 200 else ""
    return replies


def _trouble(error: Exception | None) -> ProviderError:
    """What it means that there is no reply: only what was never sent is known not to have happened."""
    match error:
        case NoToken():
            return CredentialUnavailable(error.code)
        case Elsewhere():
            return Unreadable(detail=str(error))
        case ServiceRequestError():
            return Unreachable(type(error).__name__)
    return Unanswered(type(error).__name__ if error else "")
