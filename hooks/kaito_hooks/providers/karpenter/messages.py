"""What Karpenter's reasons mean for the owner of a Workspace. The reasons themselves are kept."""

from __future__ import annotations

from kaito_hooks.machine.errors import MESSAGE_LIMIT

_QUOTA = "There is too little quota for {size}: ask for more, or free nodes of that family."
_CAPACITY = (
    "No {size} is free at the moment; another `resource.instanceType` may be available at once."
)
_SIZE = "{size} is not available here: choose another `resource.instanceType`."

REMEDIES = {
    "Launched": "The virtual machine was created.",
    "Registered": "The node has joined.",
    "Initialized": "The node has become ready.",
    "AwaitingReconciliation": "Karpenter has not looked at the NodeClaim yet; if it stays so, is Karpenter running?",
    "LaunchFailed": "Karpenter could not launch {size} and is retrying.",
    "InsufficientCapacity": _CAPACITY,
    "AllocationFailure": _CAPACITY,
    "ZonalAllocationFailure": _CAPACITY,
    "OverconstrainedAllocationFailure": _CAPACITY,
    "OverconstrainedZonalAllocationFailure": _CAPACITY,
    "SubscriptionQuotaReached": _QUOTA,
    "SKUNotAvailable": _SIZE,
    "NodeClassNotReady": "The node class is not ready: look at its conditions.",
    "NotLaunched": "There is no virtual machine yet.",
    "NodeNotFound": "The virtual machine has not joined; Karpenter replaces it after 15 minutes.",
    "MultipleNodesFound": "More than one Node has this virtual machine's id.",
    "UnregisteredTaintsExist": "Karpenter has not taken its own taint off the node yet.",
    "NotRegistered": "The node has not joined yet.",
    "NodeNotReady": "The node has joined and is not ready yet.",
    "StartupTaintsExist": "A startup taint is still on the node.",
    "KnownEphemeralTaintsExist": "Kubernetes has not taken its own taint off the node yet.",
    "ResourceNotRegistered": "The node is ready and offers no GPU: its driver or the device plugin is missing.",
}
"""By the reasons of Karpenter and its providers."""


def message_of(reason: str, message: str, size: str) -> str:
    """The remedy, then Karpenter's own sentence; one of them is always there."""
    remedy = REMEDIES.get(reason, "").replace("{size}", size or "this size")
    quoted = f"Karpenter says: {message}" if message and message != reason else ""
    text = " ".join(part for part in (remedy, quoted) if part) or f"Karpenter says: {reason}."
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"
