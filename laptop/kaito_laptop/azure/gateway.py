"""What Azure Resource Manager answers by itself, so that AKS never hears of the request.

The words of locks are those of Azure-Player/azure.datafactory.devops#183, those of a disabled
subscription those of microsoft/microsoft-foundry-for-vscode#190.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from kaito_laptop.azure.answers import Answer, Request, error, ok
from kaito_laptop.azure.pool import properties_in

Policy = Callable[[Mapping[str, Any]], str]
"""The name of the policy that forbids a pool of these properties; empty when none does."""
_LOCKED: Mapping[str, tuple[str, ...]] = {
    "": (),
    "CanNotDelete": ("DELETE",),
    "ReadOnly": ("PUT", "DELETE"),
}
"""What each management lock refuses."""


class Guarded(Protocol):
    """A cluster, as far as the gateway knows it."""

    id: str
    lock: str
    is_subscription_disabled: bool
    policy: Policy | None


def unauthenticated(request: Request) -> Answer | None:
    """The answer to a request without a token."""
    if request.headers.get("authorization", "").startswith("Bearer "):
        return None
    return error(401, "AuthenticationFailed", "The bearer token is missing.")


def not_found(cluster: Guarded, request: Request) -> Answer | None:
    """The answer to a path that leads to no cluster."""
    wanted, found = cluster.id.lower().split("/"), request.path.split("/")
    asked = [part.lower() for part in found]
    if asked[:3] != wanted[:3]:
        said = f"The subscription '{_at(found, 2)}' could not be found."
        return error(404, "SubscriptionNotFound", said)
    if asked[:5] != wanted[:5]:
        said = f"Resource group '{_at(found, 4)}' could not be found."
        return error(404, "ResourceGroupNotFound", said)
    return None if asked[:9] == wanted else _no_cluster(request.method, found)


def refusal(cluster: Guarded, verb: str, pool: str, request: Request) -> Answer | None:
    """Why the owner of the subscription does not let a change through."""
    if verb not in ("PUT", "DELETE"):
        return None
    if cluster.is_subscription_disabled:
        return error(
            409,
            "ReadOnlyDisabledSubscription",
            f"The subscription '{cluster.id.split('/')[2]}' is disabled and therefore marked as read "
            "only. You cannot perform any write actions on this subscription until it is re-enabled.",
        )
    scope = f"{cluster.id}/agentPools/{pool}"
    if verb in _LOCKED[cluster.lock]:
        action = "delete" if verb == "DELETE" else "write"
        group = cluster.id.partition("/providers/")[0]
        return error(
            409,
            "ScopeLocked",
            f"The scope '{scope}' cannot perform {action} operation because following scope(s) are "
            f"locked: '{group}'. Please remove the lock and try again.",
        )
    if verb == "DELETE" or cluster.policy is None:
        return None
    name = cluster.policy(properties_in(request.body))
    return _disallowed(scope, name) if name else None


def _at(parts: list[str], position: int) -> str:
    return parts[position] if len(parts) > position else ""


def _no_cluster(method: str, path: list[str]) -> Answer:
    name, group = _at(path, 8), _at(path, 4)
    if method == "PUT":
        return error(
            404,
            "ParentResourceNotFound",
            "Cannot perform requested operation on nested resource. "
            f"Parent resource '{name}' not found.",
        )
    return error(
        404,
        "ResourceNotFound",
        f"The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group "
        f"'{group}' was not found. For more details please go to "
        "https://aka.ms/ARMResourceNotFoundFix",
    )


def _disallowed(scope: str, name: str) -> Answer:
    """As Azure Policy writes it (learn.microsoft.com, requestdisallowedbypolicy-error)."""
    subscription = "/".join(scope.split("/")[:3])
    authorization = f"{subscription}/providers/Microsoft.Authorization"
    assignment = f"{authorization}/policyAssignments/{name}"
    definition = f"{authorization}/policyDefinitions/{name}"
    pool = scope.rpartition("/")[2]
    identifiers = (
        f'[{{"policyAssignment":{{"name":"{name}","id":"{assignment}"}},'
        f'"policyDefinition":{{"name":"{name}","id":"{definition}"}}}}]'
    )
    info = {
        "policyDefinitionDisplayName": name,
        "policyDefinitionId": definition,
        "policyDefinitionName": name,
        "policyDefinitionEffect": "deny",
        "policyAssignmentId": assignment,
        "policyAssignmentName": name,
        "policyAssignmentDisplayName": name,
        "policyAssignmentScope": subscription,
    }
    said = f"Resource '{pool}' was disallowed by policy. Policy identifiers: '{identifiers}'."
    cause = {"code": "RequestDisallowedByPolicy", "target": pool, "message": said}
    return ok(
        403, {"error": {**cause, "additionalInfo": [{"type": "PolicyViolation", "info": info}]}}
    )
