"""What AKS, ARM and Compute have really answered, as the public has reported it: one row a body, with its source.

KPA is Azure/karpenter-provider-azure; articles are those of MicrosoftDocs/SupportArticles-docs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks import error_mapping, errors
from kaito_hooks.providers.aks.error_details import causes_in, ids_in, redact
from kaito_hooks.providers.aks.responses import Response

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUOTA = (
    "Operation could not be completed as it results in exceeding approved {family} quota. Additional details - "
    "Deployment Model: Resource Manager, Location: westeurope, Current Limit: {limit}, Current Usage: 0, "
    "Additional Required: 24, (Minimum) New Limit Required: 24."
)
FAMILY = QUOTA.format(family="StandardNCADSA100v4Family Cores", limit=6)
NOTHING = QUOTA.format(family="StandardNCADSA100v4Family Cores", limit=0)
SPOT_QUOTA = QUOTA.format(family="LowPriorityCores", limit=3)
CAPACITY = (
    "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
    "Standard_NC24ads_A100_v4' is currently not available in location 'westeurope'. Please try another size or "
    "deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details."
)
OLD_CAPACITY = (
    "The requested size for resource '/subscriptions/6f8a7c1e-0000-4000-8000-000000000001/x' is currently not "
    "available in location 'eastus' zones '1,2,3' for subscription '6f8a7c1e-0000-4000-8000-000000000001'."
)
ZONAL = (
    "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone."
)
CONSTRAINED = (
    "Allocation failed. VM(s) with the following constraints cannot be allocated, because the condition is too "
    "restrictive. Please remove some constraints and try again. Constraints applied are:\n  - Availability Zone\n"
    "  - Low Priority VMs\n  - VM Size\n"
)
CSE = (
    "VM has reported a failure when processing extension 'vmssCSE'. Error message: \"Enable failed: failed to "
    'execute command: command terminated with exit status={status}\n[stdout]\n{{ "ExitCode": "{status}", '
    '"Output": "..."}}"'
)
DEPLOYMENT = {
    "code": "InvalidTemplateDeployment",
    "message": "The template deployment '8b1a99f1-0000-4000-8000-000000000001' is not valid according to the "
    "validation procedure. See inner errors for details.",
    "details": [{"code": "QuotaExceeded", "message": FAMILY}],
}


def go(code: str, message: str, **more: str) -> str:
    """As Go's SDK prints an error."""
    text = message.replace('"', '\\"')
    rest = "".join(f' {key}="{value}"' for key, value in more.items())
    return f'Code="{code}" Message="{text}"{rest}'


POOLS: list[tuple[str, dict[str, Any], type[ProviderError]]] = [
    ("2022 outerbounds/metaflow-on-azure", {
        "code": "ReconcileVMSSAgentPoolFailed", "message": go("AllocationFailed", ZONAL)},
     errors.InsufficientCapacity),
    ("2022 quota of a scale", {
        "code": "CreateVMSSAgentPoolFailed", "message": go("OperationNotAllowed", FAMILY)},
     errors.QuotaExceeded),
    ("2021 Compute's own throttling under the code of quota", {
        "code": "CreateVMSSAgentPoolFailed", "message": "VMSSAgentPoolReconciler retry failed: autorest/azure: "
        "Service returned an error. Status=429 " + go("OperationNotAllowed",
        "The server rejected the request because too many requests have been received for this subscription.")},
     errors.PoolFailed),
    ("2021 the form with a sub-code", {
        "code": "CreateVMSSAgentPoolFailed", "message": "VMSSAgentPoolReconciler retry failed: Category: "
        "ClientError; SubCode: ZonalAllocationFailed; Dependency: Microsoft.Compute; Retriable: false."},
     errors.InsufficientCapacity),
    ("2021 the form with a sub-code and an error", {
        "code": "ReconcileVMSSAgentPoolFailed", "message": "Reconciler retry failed: Category: ClientError; "
        "SubCode: LinkedAuthorizationFailed; OrginalError: " + go("LinkedAuthorizationFailed", "no join/action")
        + "; AKSTeam: Networking, Retriable: false."}, errors.Forbidden),
    ("2022 JSON in the sentence", {
        "code": "CreateVMSSAgentPoolFailed", "message": "Provisioning of resource(s) for Agent Pool ws1 failed. "
        "Error: " + json.dumps(DEPLOYMENT, indent=1)}, errors.QuotaExceeded),
    ("2022 JSON that is cut off", {
        "code": "CreateVMSSAgentPoolFailed", "message": "Error: " + json.dumps(DEPLOYMENT)[:-40]},
     errors.QuotaExceeded),
    ("2020 Azure/AKS#1972, no cause", {
        "code": "CreateVMSSAgentPoolFailed", "message": "AKS encountered an internal error while attempting the "
        "requested Creating operation. Correlation ID: 65232780-0000-4000-8000-000000000001"}, errors.PoolFailed),
    ("2024 the code of Compute outside", {
        "code": "OverconstrainedZonalAllocationRequest", "message": "original error: "
        + go("OverconstrainedZonalAllocationRequest", CONSTRAINED, Target="6")}, errors.InsufficientCapacity),
    ("2023 jenkins-infra/helpdesk#3584", {
        "code": "ResourceOperationFailure", "message": "The resource operation completed with terminal "
        "provisioning state 'Failed'.", "details": [
            {"code": "OverconstrainedZonalAllocationRequest", "target": "11", "message": CONSTRAINED}]},
     errors.InsufficientCapacity),
    ("2026 KPA pkg/fake, quota", {
        "code": "QuotaExceeded", "message": go("OperationNotAllowed", FAMILY),
        "details": [{"code": "OperationNotAllowed", "message": FAMILY}]}, errors.QuotaExceeded),
    ("2026 no quota at all", {
        "code": "QuotaExceeded", "message": go("OperationNotAllowed", NOTHING),
        "details": [{"code": "OperationNotAllowed", "message": NOTHING}]}, errors.QuotaIsZero),
    ("2026 KPA pkg/fake, spot quota", {
        "code": "QuotaExceeded", "message": go("OperationNotAllowed", SPOT_QUOTA),
        "details": [{"code": "OperationNotAllowed", "message": SPOT_QUOTA}]}, errors.QuotaExceeded),
    ("2026 KPA pkg/fake, capacity of a size", {
        "code": "SkuNotAvailable", "message": go("SkuNotAvailable", CAPACITY, Target="sku.name"),
        "details": [{"code": "SkuNotAvailable", "message": CAPACITY}]}, errors.SkuShortage),
    ("2024 article subnetisfull", {
        "code": "CreateVMSSAgentPoolFailed", "message": "VMSSAgentPoolReconciler retry failed: Code='SubnetIsFull' "
        "Message='aks-subnet with address prefix 10.0.0.0/24 doesn't have enough capacity for IP addresses.'"},
     errors.SubnetFull),
    ("2020 Azure/AKS#1918, outbound", {
        "code": "CreateVMSSAgentPoolFailed", "message": "Unable to establish outbound connection from agents, "
        "please see https://aka.ms/aks-required-ports-and-addresses for more information. Details: "
        + go("VMExtensionProvisioningError", CSE.format(status=50), Target="0")}, errors.NoOutbound),
    ("2022 terraform-provider-azurerm#9342, API server", {
        "code": "CreateVMSSAgentPoolFailed", "message": "Unable to establish connection from agents to Kubernetes "
        "API server. Details: " + go("VMExtensionProvisioningError", CSE.format(status=51))}, errors.NoOutbound),
    ("the driver", {"code": "VMExtensionProvisioningError", "message": CSE.format(status=84)}, errors.NoDriver),
    ("2022 Azure/aks-engine#4945", {
        "code": "VMExtensionProvisioningError", "message": CSE.format(status=124)}, errors.SetupFailed),
    ("2019 Azure/AKS#1352, a time-out", {
        "code": "VMExtensionProvisioningTimeout", "message": "Provisioning of VM extension vmssCSE has timed out."},
     errors.SetupFailed),
    ("2026 the newest form", {
        "code": "VMExtensionProvisioningError", "message": "CSE failed with 'VMExtensionError_OutboundConnFail', "
        "which means agents are unable to establish outbound connection."}, errors.NoOutbound),
    ("2020 Azure/AKS#1746", {
        "code": "NodesNotReady", "message": "Not all nodes reached Ready state. Expected: 1, Actual: 0"},
     errors.SetupFailed),
    ("2026 article aksoperationpreempted", {
        "code": "AKSOperationPreempted", "message": "This operation has been preempted by another operation"},
     errors.PoolFailed),
    ("2025 a policy, found late", {
        "code": "RequestDisallowedByPolicy", "message": "Resource request failed due to RequestDisallowedByPolicy. "
        + go("RequestDisallowedByPolicy", "Resource 'MC_x' was disallowed by policy.")}, errors.PolicyForbids),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"), [row[1:] for row in POOLS], ids=[row[0] for row in POOLS]
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_why_a_pool_failed_is_found_wherever_azure_writes_it(
    error: dict[str, Any], kind: type[ProviderError], wrapped: bool
) -> None:
    found = error_mapping.of_pool({"error": error} if wrapped else error)
    assert type(found) is kind


WRAPPED = "wrapped"
REPLIES: list[tuple[str, int, str, str, type[ProviderError]]] = [
    ("azure.datafactory.devops#183, a lock", 409, "ScopeLocked", "The scope '/subscriptions/x' cannot perform "
     "write operation because following scope(s) are locked: '/subscriptions/x'. Please remove the lock and try "
     "again.", errors.Locked),
    ("Azure/AKS#3291, a lock that AKS finds", 409, "OperationNotAllowed", "Resource group 'MC_x' under "
     "subscription: 'xxx' is locked, please remove lock and retry.", errors.Locked),
    ("vscode-azureappservice#1646", 409, "ReadOnlyDisabledSubscription", "The subscription 'x' is disabled and "
     "therefore marked as read only.", errors.SubscriptionDisabled),
    ("a policy on tags", 409, "AppendPoliciesFieldsExist", "Policies attempted to append some fields which "
     "already exist in the request with different values. Fields: 'tags[Environment]'.", errors.PolicyForbids),
    ("2026 busy", 409, "OperationNotAllowed", "Operation is not allowed because there's an in progress update node "
     "pool operation (operation ID: 84d90bcb) on the agent pool system started on UTC 2026-02-12T03:41:29Z.",
     errors.Busy),
    ("2026 busy, with a dash", 409, "OperationNotAllowed", "there's an in-progress upgrade operation", errors.Busy),
    ("our own creation", 409, "OperationNotAllowed", "Operation is not allowed because there's an in progress "
     "create node pool operation on the agent pool ws1", errors.Underway),
    ("cilium/cilium#25944", 409, "OperationNotAllowed", "Operation is not allowed: Another agentpool operation "
     "(nodepool1 - Creating) is in progress, please wait for it to finish", errors.Busy),
    ("2024 after a deletion", 409, "OperationNotAllowed", "Unable to perform 'Scaling' operation on 'agentpool' "
     "since deletion was issued on 'agentpool'.", errors.Busy),
    ("a 409 that nobody knows", 409, "PropertyChangeNotAllowed", "Changing property 'x' is not allowed.",
     errors.InvalidRequest),
    ("Azure/AKS#2560", 400, "OperationNotAllowed", "There has to be at least one agent pool.",
     errors.InvalidRequest),
    ("2025 quota of the region", 400, "ErrCode_InsufficientVCPUQuota", "Insufficient regional vcpu quota left for "
     "location westus2. left regional vcpu quota 4, requested quota 6.", errors.QuotaExceeded),
    ("dotnet/core#7603", 400, "BadRequest", "The VM size of AgentPoolProfile:nodepool1 is not allowed in your "
     "subscription in location 'westus'.", errors.SkuNotAvailable),
    ("Azure/AKS#2413", 400, "BadRequest", "The VM SKUs chosen for agentpool(s) `AgentPoolProfile:test` are "
     "restricted by AKS.", errors.SkuNotAvailable),
    ("KPA pkg/fake", 400, "VMSizeNotSupported", "Virtual Machine size: 'Standard_NC24ads_A100_v4' is not supported "
     "for subscription x in location 'y'.", errors.SkuNotAvailable),
    ("a size that the image can't boot", 400, "BadRequest", "The selected VM size 'Standard_NC6' cannot boot "
     "Hypervisor Generation '2'.", errors.SkuNotAvailable),
    ("Azure/azure-cli#16961", 409, "SkuNotAvailable", OLD_CAPACITY, errors.SkuShortage),
    ("100 pools", 400, "MaxAgentPoolCountReached", "x", errors.PoolLimit),
    ("2025 subnet", 400, "InsufficientSubnetSize", "Pre-allocated IPs 327 exceeds IPs available 250 in Subnet Cidr "
     "10.10.1.0/24", errors.SubnetFull),
    ("a version", 400, "AgentPoolK8sVersionNotSupported", "Version 1.18.19 is not supported in this region.",
     errors.ClusterOutdated),
    ("article throttled", 429, "Throttled", "The PutAgentPoolHandler.PUT request limit has been exceeded",
     errors.Throttled),
    ("a deployment stack", 403, "DenyAssignmentAuthorizationFailed", "denied because of the deny assignment",
     errors.Forbidden),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [row[1:] for row in REPLIES],
    ids=[row[0] for row in REPLIES],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_refusal_means(
    status: int, code: str, message: str, kind: type[ProviderError], wrapped: bool
) -> None:
    flat = {"code": code, "details": None, "message": message, "subcode": "", "target": "x"}
    body = {"error": {"code": code, "message": message}} if wrapped else flat
    assert (
        type(error_mapping.of_response(Response(status, {}, json.dumps(body).encode()), NOW))
        is kind
    )


@pytest.mark.parametrize("status", [400, 412])
def test_a_quota_that_is_wrapped_in_a_failed_precondition_is_quota(status: int) -> None:
    """MicrosoftDocs/azure-docs#62378: the answer to a PUT, with the cause as JSON in its sentence."""
    said = "Provisioning of resource(s) for Agent Pool ws1 failed. Error: " + json.dumps(DEPLOYMENT)
    reply = Response(
        status, {}, json.dumps({"code": "PreconditionFailed", "message": said}).encode()
    )
    assert type(error_mapping.of_response(reply, NOW)) is errors.QuotaExceeded
    assert error_mapping.known_cause(reply)


NO_POOL = [
    ("NotFound", "Agent Pool not found", ""),
    ("NotFound", "Could not find the agentpool", "GetAgentPool_NotFound"),
    ("NotFound", "", ""),
    ("AgentPoolNotFound", "x", ""),
    ("ResourceNotFound", "The Resource 'Microsoft.ContainerService/managedClusters/c/agentPools/ws1' under resource "
     "group 'rg' was not found.", ""),
]  # fmt: skip
NO_CLUSTER = [
    ("ResourceNotFound", "The Resource 'Microsoft.ContainerService/managedClusters/c' under resource group 'rg' was "
     "not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", ""),
    ("ResourceGroupNotFound", "Resource group 'rg' could not be found.", ""),
    ("ParentResourceNotFound", "Cannot perform requested operation on nested resource. Parent resource 'c' not "
     "found.", ""),
    ("SubscriptionNotFound", "The subscription 'x' could not be found.", ""),
    ("NotFound", "Could not find the managed cluster", "GetManagedCluster_NotFound"),
    ("NotFound", "", "GetManagedCluster_NotFound"),
    ("NoRegisteredProviderFound", "No registered resource provider found for location", ""),
    ("", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "subcode"), [*NO_POOL, *NO_CLUSTER])
def test_only_a_missing_pool_is_a_missing_pool(code: str, message: str, subcode: str) -> None:
    body = {"code": code, "message": message, "details": None, "subcode": subcode}
    reply = Response(404, {}, json.dumps(body).encode())
    assert error_mapping.says_no_pool(reply) == ((code, message, subcode) in NO_POOL)


def test_links_of_azure_stay_ids_go_to_the_log_and_secrets_nowhere() -> None:
    said = (
        "Failed, see https://aka.ms/aks/vmextensionerror_outboundconnfail. Correlation ID: "
        "65232780-1111-4000-8000-000000000001, Operation ID: c8117d01-2222-4000-8000-000000000002, token "
        "eyJhbGciOiJIUzI1NiJ9.e30.sig and https://x.blob.core.windows.net/log?sig=hunter2"
    )
    shown = redact(said)
    assert "https://aka.ms/aks/vmextensionerror_outboundconnfail" in shown
    assert "6523" not in shown
    assert "hunter2" not in shown
    assert "eyJ" not in shown
    assert ids_in(said) == [
        "65232780-1111-4000-8000-000000000001",
        "c8117d01-2222-4000-8000-000000000002",
    ]


def test_a_message_that_is_nothing_but_brackets_costs_no_time() -> None:
    for said in ("{" * 16_000, 'Code="A' * 3_000, '{"code": ' * 2_000, "\\" * 16_000):
        assert len(list(causes_in({"code": "x", "message": said}))) < 5_000
