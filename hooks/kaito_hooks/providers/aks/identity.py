"""Who we are to ARM: a workload identity, or nobody at all for a stand-in on this host."""

from __future__ import annotations

from typing import Any

from azure.core.credentials import AccessToken
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy

from kaito_hooks.providers.aks.settings import AksSettings

STAND_IN_TOKEN = "stand-in"  # noqa: S105  below
"""No secret: a stand-in wants to see a bearer token, as ARM does."""


class NoToken(Exception):
    """There is no token; `code` is the kind of error, never its text."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class StandInToken(SansIOHTTPPolicy[Any, Any]):
    """Authenticates with a constant; only ever used with a loopback address."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        """Add the header; plain HTTP is fine on this host, where Azure's own policy refuses it."""
        request.http_request.headers["Authorization"] = f"Bearer {STAND_IN_TOKEN}"

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Satisfy the client, which wants a credential and never asks it."""
        raise NoToken("StandIn")


class Identity:
    """The workload identity of the pod: its failures are told apart from those of ARM."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token; raise `NoToken`."""
        try:
            token: AccessToken = self._credential.get_token(*scopes, **options)
        except Exception as error:  # noqa: BLE001  a missing file, an unreachable authority, a refusal
            raise NoToken(type(error).__name__) from None
        return token

    def unavailable_reason(self, scope: str) -> str:
        """Why there is no token, in a few words."""
        try:
            self.get_token(scope)
        except NoToken as error:
            return f"no token for Azure: {error.code}"
        return ""


def credential_of(settings: AksSettings, connect_seconds: int, read_seconds: int) -> Identity:
    """The identity that the settings name, and no other: never the node's own."""
    from azure.identity import WorkloadIdentityCredential  # 0.3 s, and not for a stand-in.

    identity = settings.identity
    if identity is None:
        raise NoToken("NoIdentity")
    return Identity(
        WorkloadIdentityCredential(
            tenant_id=identity.tenant_id,
            client_id=identity.client_id,
            token_file_path=identity.token_file,
            authority=identity.authority,
            retry_total=0,
            connection_timeout=connect_seconds,
            read_timeout=read_seconds,
        )
    )
