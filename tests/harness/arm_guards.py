"""What the owner of a subscription puts in the way of changes: locks, a policy, or the end of the subscription.

The words of locks are those of Azure-Player/azure.datafactory.devops#183, those of a disabled
subscription those of microsoft/microsoft-foundry-for-vscode#190.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(slots=True)
class Guards:
    """In front of one cluster."""

    lock: str = ""
    """The management lock on the resource group: CanNotDelete or ReadOnly."""
    is_subscription_disabled: bool = False
    policy: Policy | None = None


def refusal(guards: Guards, cluster: str, verb: str, pool: str, request: Request) -> Answer | None:
    """Why a change is not let through."""
    if verb not in ("PUT", "DELETE"):
        return None
    if guards.is_subscription_disabled:
        return error(
            409,
            "ReadOnlyDisabledSubscription",
            f"The subscription '{cluster.split('/')[2]}' is disabled and therefore marked as read "
            "only. You cannot perform any write actions on this subscription until it is re-enabled.",
        )
    scope = f"{cluster}/agentPools/{pool}"
    if verb in _LOCKED[guards.lock]:
        action = "delete" if verb == "DELETE" else "write"
        group = cluster.partition("/providers/")[0]
        return error(
            409,
            "ScopeLocked",
            f"The scope '{scope}' cannot perform {action} operation because following scope(s) are "
            f"locked: '{group}'. Please remove the lock and try again.",
        )
    if verb == "DELETE" or guards.policy is None:
        return None
    name = guards.policy(properties_in(request.body))
    return _disallowed(scope, name) if name else None


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
