"""One agent pool as the stand-in keeps it, and as ARM writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.azure.answers import Answer, refused
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.azure.spot import SPOT, is_spot

ENDS = ("Succeeded", "Failed", "Canceled")
_MISSING = {
    # Azure/karpenter-provider-azure@352646f pkg/providers/azclient/aksmachinesheaderbatch
    "NotFound": ("Could not find the agentpool", "GetAgentPool_NotFound"),
    # Azure/gpu-provisioner@c09a56c pkg/providers/instance/armutils.go
    "AgentPoolNotFound": ("Agent Pool not found", ""),
}
"""What AKS says of a pool that is not there, by its code."""


@dataclass(slots=True)
class Pool:
    """Properties as they were sent, with the state that AKS adds."""

    name: str
    properties: dict[str, Any]
    outcome: Outcome
    etag: str = ""
    due: float | None = None
    """When its operation ends."""
    halfway: float | None = None
    """When its operation shows progress."""
    is_own: bool = False
    """Whether AKS itself has begun the operation."""
    has_machine: bool = False
    """Whether a virtual machine is taken from what is free."""
    numbers: list[int] = field(default_factory=list)
    """Of the virtual machines that have a Node."""
    replaced: int | None = None
    """The number whose Node is away during an upgrade."""
    error: Mapping[str, Any] | None = None

    @property
    def state(self) -> str:
        """The provisioning state."""
        return str(self.properties["provisioningState"])

    def body(self, cluster_id: str, *, hides_etag: bool = False) -> dict[str, Any]:
        """What GET answers."""
        properties = {**self.properties, **({} if hides_etag else {"eTag": self.etag})}
        properties.setdefault("powerState", {"code": "Running"})
        if is_spot(properties):
            # learn.microsoft.com, aks/spot-node-pool: AKS adds its own to what was sent.
            properties["nodeLabels"] = {**(properties.get("nodeLabels") or {}), SPOT: "spot"}
            taints = properties.get("nodeTaints") or ()
            properties["nodeTaints"] = [*taints, f"{SPOT}=spot:NoSchedule"]
        if self.error is not None:
            properties["status"] = {"provisioningError": self.error}
        return {
            "id": f"{cluster_id}/agentPools/{self.name}",
            "name": self.name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "properties": properties,
        }


def properties_in(body: bytes) -> dict[str, Any]:
    """The properties of a request."""
    try:
        found = json.loads(body)["properties"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def missing(code: str) -> Answer:
    """The answer for a pool that is not there."""
    said, subcode = _MISSING[code]
    return refused(404, code, said, subcode=subcode)
