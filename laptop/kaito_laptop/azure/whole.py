"""The managed cluster itself, beside its pools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class WholeCluster:
    """What never changes, and the state that AKS' own operations bring it into."""

    id: str
    node_group: str
    version: str
    """Of the control plane."""
    most_pools: int
    hosts_system: bool
    """Whether AKS runs the system's pods on nodes that nobody else sees, as in AKS Automatic."""
    state: str = "Succeeded"
    power: str = "Running"
    until: float = 0.0
    """When what is under way ends."""
    rest: str = "Succeeded"
    """The state afterwards."""

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.id.rpartition("/")[2]

    def begin(self, state: str, until: float, power: str) -> None:
        """Something is under way."""
        self.state, self.until, self.power, self.rest = state, until, power, "Succeeded"

    def fail(self, now: float) -> None:
        """What was under way is preempted."""
        self.until, self.rest = min(self.until, now), "Failed"

    def state_at(self, now: float) -> str:
        """The provisioning state."""
        return self.state if now < self.until else self.rest

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs, so that only a start is accepted."""
        return self.power != "Running"

    def body(self, region: str, now: float, profiles: Sequence[Mapping[str, Any]]) -> Any:
        """What GET answers.

        `hostedSystemProfile` is of API version 2026-02-01 (azure-mgmt-containerservice 41.1).
        """
        properties: dict[str, Any] = {
            "provisioningState": self.state_at(now),
            "powerState": {"code": self.power},
            "kubernetesVersion": self.version,
            "currentKubernetesVersion": self.version,
            "maxAgentPools": self.most_pools,
            "agentPoolProfiles": profiles,
            "nodeResourceGroup": self.node_group,
        }
        if self.hosts_system:
            properties["hostedSystemProfile"] = {"enabled": True}
        sku = {"name": "Automatic" if self.hosts_system else "Base", "tier": "Standard"}
        found = {"id": self.id, "name": self.name, "location": region, "sku": sku}
        return {**found, "properties": properties}
