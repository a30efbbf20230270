"""Why a pool failed, in the shapes that AKS has used over the years.

`provisioning_error` is what `properties.status.provisioningError` holds. The cause is a code of
Microsoft.Compute; where it stands is what has changed:

2022: only in the message of a code of AKS' own (outerbounds/metaflow-on-azure README).
2024: as the code, once more in the message, and in the details
      (Azure/karpenter-provider-azure@352646f pkg/fake/aksmachinesapi.go, jenkins-infra/helpdesk#4337).
2026: as the code and in the details; the message begins with the scale set (Azure/AKS#5808).

Quota is called `OperationNotAllowed` by Microsoft.Compute; since 2024 AKS calls it `QuotaExceeded`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from kaito_laptop.azure import provisioning_errors as today
from kaito_laptop.azure.answers import refused
from kaito_laptop.azure.provisioning_errors import no_capacity

Year = Literal[2022, 2024, 2026]
ExitStatus = Literal[50, 51, 84, 124]

_CONSTRAINTS = (
    "Allocation failed. VM(s) with the following constraints cannot be allocated, because the condition "
    "is too restrictive. Please remove some constraints and try again. Constraints applied are:\n"
    "  - {}  - Networking Constraints (such as Accelerated Networking or IPv6)\n  - VM Size\n"
)


def quota(name: str, limit: int, used: int, wanted: int) -> str:
    """Microsoft.Compute's words for a quota that is used up, such as `standardNCSv3Family Cores`."""
    return (
        f"Operation could not be completed as it results in exceeding approved {name} quota. Additional "
        f"details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: {limit}, "
        f"Current Usage: {used}, Additional Required: {wanted}, (Minimum) New Limit Required: "
        f"{used + wanted}."
    )


WORDS: Mapping[str, str] = {
    **today.ALLOCATION_WORDS,
    "OverconstrainedAllocationRequest": _CONSTRAINTS.format("Differencing (Ephemeral) Disks\n"),
    "OverconstrainedZonalAllocationRequest": _CONSTRAINTS.format("Availability Zone\n"),
    "SkuNotAvailable": no_capacity("Standard_NC6s_v3", "westeurope"),
    "OperationNotAllowed": quota("standardNCSv3Family Cores", 6, 6, 6),
}
"""What Microsoft.Compute says with each code; `OperationNotAllowed` is quota."""

_SUB_CODES = {50: "OutboundConnFail", 51: "K8SAPIServerConnFail"}
_CSE = {
    50: "Unable to establish outbound connection from agents",
    51: "Unable to establish connection from agents to Kubernetes API server",
    84: "NVIDIA GPU drivers did not correctly install or start",
    124: "Extension provisioning has taken too long to complete",
}


def provisioning_error(
    year: Year, code: str, message: str = "", *, outer: str = "CreateVMSSAgentPoolFailed"
) -> Mapping[str, Any]:
    """What failed a pool in that year; `outer` is AKS' own code, which only 2022 shows."""
    said = message or WORDS[code]
    if year == 2022:
        return {"code": outer, "message": f'Code="{code}" Message="{_quoted(said)}"'}
    error: dict[str, Any] = {**today.provisioning_error(code, said)}
    if code == "OperationNotAllowed" and "quota" in said:
        error["code"] = "QuotaExceeded"
    if year == 2024:
        error["message"] = f'Code="{code}" Message="{said}"'
    return error


def with_sub_code(
    sub_code: str, message: str = "", *, outer: str = "ReconcileVMSSAgentPoolFailed"
) -> Mapping[str, Any]:
    """The cause as a sub code (MicrosoftDocs/SupportArticles-docs, linkedauthorizationfailed-error.md)."""
    said = message or WORDS[sub_code]
    text = (
        f"VMSSAgentPoolReconciler retry failed: Category: ClientError; SubCode: {sub_code}; Dependency: "
        f'Microsoft.Compute/virtualMachineScaleSets; OrginalError: Code="{sub_code}" Message="{said}"; '
        "AKSTeam: NodeProvisioning, Retriable: false."
    )
    return {"code": outer, "message": text}


def with_json(
    code: str, message: str = "", *, outer: str = "ReconcileVMSSAgentPoolFailed"
) -> Mapping[str, Any]:
    """The cause as JSON within the message (Azure/AKS#1918)."""
    text = (
        "VMSSAgentPoolReconciler retry failed: deployment operations failed with error messages: "
        f"{_deployment(code, message or WORDS[code])}"
    )
    return {"code": outer, "message": text}


def node_setup_failed(year: Year, status: ExitStatus) -> Mapping[str, Any]:
    """The script that makes a virtual machine a node has ended with that status.

    hashicorp/terraform-provider-azurerm#9342, Azure/aks-engine#4945, Azure/AgentBaker cse_helpers.sh
    """
    extension = (
        "VM has reported a failure when processing extension 'vmssCSE'. Error message: \"Enable failed: "
        f"failed to execute command: command terminated with exit status={status}\n[stdout]\n"
        f'{{ "ExitCode": "{status}", "Output": "..." }}"'
    )
    code = "VMExtensionProvisioningError"
    if year == 2022:
        said = (
            f"{_CSE[status]}, please see https://aka.ms/aks-required-ports-and-addresses for more "
            f'information. Details: Code="{code}" Message="{_quoted(extension)}"'
        )
        return {"code": "CreateVMSSAgentPoolFailed", "message": said}
    if year == 2024 or status not in _SUB_CODES:
        return {
            "code": code,
            "message": extension,
            "details": [{"code": code, "message": extension, "target": "0"}],
        }
    sub_code = f"VMExtensionError_{_SUB_CODES[status]}"
    said = f"CSE failed with '{sub_code}', which means: {_CSE[status]}. See https://aka.ms/aks/{sub_code.lower()}."
    return {"code": code, "message": said}


def throttled_by_compute() -> Mapping[str, Any]:
    """`OperationNotAllowed` that is no quota: AKS itself has asked Microsoft.Compute too often."""
    text = (
        "VMSSAgentPoolReconciler retry failed: autorest/azure: Service returned an error. Status=429 "
        'Code="OperationNotAllowed" Message="The server rejected the request because too many requests '
        'have been received for this subscription." Details=[{"code":"TooManyRequests","message":'
        '"{\\"operationGroup\\":\\"HighCostGetVMScaleSet30Min\\"}","target":'
        '"HighCostGetVMScaleSet30Min"}] InnerError={"internalErrorCode":"TooManyRequestsReceived"}'
    )
    return {"code": "CreateVMSSAgentPoolFailed", "message": text}


def precondition_failed(pool: str, code: str, message: str = "") -> bytes:
    """The body of a PUT that a check of Microsoft.Compute refuses; its status is 400, not 412.

    outerbounds/metaflow-on-azure README, MicrosoftDocs/azure-docs#62378
    """
    cause = _deployment(code, message or WORDS[code])
    said = f"Provisioning of resource(s) for Agent Pool {pool} failed. Error: {cause}"
    return refused(400, "PreconditionFailed", said).body


def _deployment(code: str, message: str) -> str:
    said = (
        "The template deployment '8b1a99f1' is not valid according to the validation procedure. The "
        "tracking id is 'xyz'. See inner errors for details."
    )
    cause = [{"code": code, "message": message}]
    body = {"code": "InvalidTemplateDeployment", "message": said, "details": cause}
    return json.dumps(body, indent=2)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
