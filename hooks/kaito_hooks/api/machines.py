"""What one Machine says to its Workspace: the conditions and reasons that both hooks know."""

from __future__ import annotations

REGISTERED = "MachineRegistered"
"""Exactly one Node joined (Karpenter's)."""
READY = "Ready"
"""The Node is ready now."""

NO_NODES_MADE = "NoNodesMade"
"""This installation makes no nodes; its users bring their own, and the Machine gives way to one of those."""
NODE_LOST = "NodeLost"
"""The Node has not been ready for more than ten minutes after it was; the Workspace replaces the Machine."""
NODE_NOT_READY = "NodeNotReady"
"""The Node is there and not ready (Karpenter's)."""
STARTUP_TAINTS_EXIST = "StartupTaintsExist"
"""A startup taint of the Machine is still on the Node (Karpenter's)."""
KNOWN_EPHEMERAL_TAINTS_EXIST = "KnownEphemeralTaintsExist"
"""A taint that Kubernetes takes away by itself is still on the Node (Karpenter's)."""
RESOURCE_NOT_REGISTERED = "ResourceNotRegistered"
"""The Node offers no GPU yet: driver or device plugin are missing (Karpenter's)."""

UNUSABLE = frozenset(
    {NODE_NOT_READY, STARTUP_TAINTS_EXIST, KNOWN_EPHEMERAL_TAINTS_EXIST, RESOURCE_NOT_REGISTERED}
)
"""There is a Node that is paid for, and pods can't use it yet."""
