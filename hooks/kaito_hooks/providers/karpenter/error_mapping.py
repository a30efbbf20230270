"""Which error an answer of the API server is, and what the owner can do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from kubernetes import client as kube

from kaito_hooks.kube.objects import Manifest, get_in, mapping, text
from kaito_hooks.machine import errors
from kaito_hooks.machine.errors import ProviderError


class OfKubernetes:
    """The sentence in `detail` is the API server's."""

    speaker: ClassVar[str] = "Kubernetes"


class Rejected(OfKubernetes, errors.InvalidRequest):
    """The NodeClaim breaks a rule of its kind, or an admission webhook's."""

    remedy = "The NodeClaim is not accepted as described: change the Workspace's `resource`."


class NoRight(OfKubernetes, errors.Forbidden):
    """RBAC or a policy."""

    remedy = (
        "The node provisioner may not do this: install manifests/components/karpenter, or exempt "
        "NodeClaims from the policy that is named here."
    )


class NotInstalled(OfKubernetes, errors.ConfigError):
    """The cluster does not know the kind."""

    remedy = (
        "The cluster has no NodeClaim of karpenter.sh/v1: install Karpenter 1.0 or later, or set "
        "KAITO_NODE_PROVIDER of the node provisioner to aks or byo."
    )


class NoToken(OfKubernetes, errors.CredentialUnavailable):
    """The pod has no service account token."""

    remedy = "The node provisioner has no token: its pod must mount that of its service account."


class NotAccepted(OfKubernetes, errors.Unauthorized):
    """401."""

    remedy = "The API server does not accept the node provisioner's token; look at its log."


class ApiThrottled(OfKubernetes, errors.Throttled):
    """429."""

    remedy = "The API server asks for fewer requests; retrying."


class ClaimAppeared(OfKubernetes, errors.AlreadyExists):
    """A NodeClaim of that name appeared since it was looked for."""

    remedy = "A NodeClaim of that name has just appeared; it is read again."


class ClaimChanged(OfKubernetes, errors.EtagMismatch):
    """It changed between reading and deleting it, as Karpenter writes its status."""

    remedy = "The NodeClaim changed while it was to be deleted; it is read again."


class ApiUnreachable(OfKubernetes, errors.Unreachable):
    """No request was sent."""

    remedy = "The node provisioner does not reach the API server; retrying."


class ApiUnanswered(OfKubernetes, errors.Unanswered):
    """A request was sent and nobody knows whether it was carried out."""

    remedy = "The API server gave no clear answer; the NodeClaim is read again."


class ApiUnreadable(OfKubernetes, errors.Unreadable):
    """Something answered that is no API server."""

    remedy = "The answer did not come from the API server, perhaps from a proxy; retrying."


class NoCapacity(errors.InsufficientCapacity):
    """Karpenter found no such machine and took the NodeClaim back."""

    speaker = "Karpenter"
    wait_seconds = 600
    remedy = (
        "Karpenter finds no free {size} at the moment: retrying every ten minutes; "
        "another `resource.instanceType` or `resource.spot: never` may be available at once."
    )


class NodeClassNotReady(errors.PoolFailed):
    """Karpenter took the NodeClaim back because of its node class."""

    speaker = "Karpenter"
    remedy = (
        "The node class of the node provisioner is not ready: look at its conditions, or set "
        "KAITO_NODE_CLASS_NAME to another; retrying."
    )


GIVEN_UP: dict[str, type[ProviderError]] = {
    "InsufficientCapacityError": NoCapacity,
    "NodeClassNotReady": NodeClassNotReady,
}
"""By the reason of the event that Karpenter leaves when it deletes a NodeClaim that it can't launch."""

FOUND_OUT: Mapping[type[ProviderError], type[ProviderError]] = {
    errors.EtagMismatch: ClaimChanged,
    errors.Unreadable: ApiUnreadable,
}
"""Ours, for what the decisions find out themselves."""

NO_SUCH_GROUP = "404 page not found"
"""The API server's own words for a group of which it knows no kind."""

_BY_STATUS: dict[int, type[ProviderError]] = {
    0: ApiUnreachable,
    400: Rejected,
    401: NotAccepted,
    403: NoRight,
    404: NotInstalled,
    409: ClaimChanged,
    422: Rejected,
    429: ApiThrottled,
}


class NoSuchClaim(Exception):
    """The API server knows the kind and has no object of that name."""


def of_answer(error: kube.ApiException) -> ProviderError | NoSuchClaim:
    """The error that a refusal stands for; a 404 counts only when it names what is missing."""
    answered = _status_object(error.body)
    status, reason = error.status or 0, text(answered.get("reason"))
    details = mapping(get_in(answered, "details"))
    if status == 404 and details.get("kind") == "nodeclaims" and details.get("name"):
        return NoSuchClaim()
    if status == 404 and _text(error.body).startswith(NO_SUCH_GROUP):
        return NotInstalled(f"HTTP {status}")
    if status >= 500:
        kind: type[ProviderError] = ApiUnanswered
    elif status and answered.get("kind") != "Status" and status not in (401, 429):
        kind = ApiUnreadable
    elif reason == "AlreadyExists":
        kind = ClaimAppeared
    else:
        kind = _BY_STATUS.get(status, ApiUnreadable)
    return kind(reason or f"HTTP {status}", text(answered.get("message")), _retry_after(error))


def _status_object(body: object) -> Manifest:
    try:
        return dict(mapping(json.loads(_text(body))))
    except ValueError:
        return {}


def _text(body: object) -> str:
    return body.decode(errors="replace") if isinstance(body, bytes) else text(body)


def _retry_after(error: kube.ApiException) -> int | None:
    headers = error.headers or {}
    value = str(headers.get("Retry-After", ""))
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else None
