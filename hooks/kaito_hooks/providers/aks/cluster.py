"""The managed cluster as Azure shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ManagedCluster:
    """What its state says."""

    state: str
    power: str
    node_group: str
    """Resource group of its virtual machines."""
    has_hosted_system: bool = False
    """Whether AKS runs the system nodes itself, so that no pool of mode System is listed."""

    @property
    def operation(self) -> str:
        """What it is in the middle of, in Azure's word; empty when it runs and is at rest."""
        if self.state not in ("Succeeded", "Failed", "Canceled"):
            return self.state
        return "" if self.power in ("Running", "") else self.power
