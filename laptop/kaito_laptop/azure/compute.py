"""What Azure has to give in one region: which sizes are offered, how much quota is left, what is free.

The figures of Microsoft.Compute (`skus`, `usages`) and the refusals of AKS come from the same numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.azure.answers import Answer, ok, refused
from kaito_laptop.azure.provisioning_errors import (
    ALLOCATION_WORDS,
    no_capacity,
    provisioning_error,
)
from kaito_laptop.azure.spot import is_spot

SPOT_FAMILY = "lowPriorityCores"
REGIONAL = "cores"
PLENTY = 1000
_SIZE = re.compile(r"standard_([a-z]+)(\d+)([a-z]*)(.*)", re.IGNORECASE)
_MORE_QUOTA = (
    "If you want to increase the quota, please follow this instruction: "
    "https://learn.microsoft.com/en-us/azure/quotas/view-quotas. Surge nodes would also consume vcpu "
    "quota, please consider use smaller maxSurge or use maxUnavailable to proceed upgrade without surge "
    "nodes, details: aka.ms/aks/maxUnavailable."
)


@dataclass(slots=True)
class Compute:
    """One region as one subscription sees it."""

    region: str = "westeurope"
    sizes: set[str] = field(default_factory=set)
    """Names that `skus` lists, besides those with GPUs."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """Of each size with NVIDIA GPUs."""
    memory: Mapping[str, str] = field(default_factory=dict)
    """Of each size; 64Gi for one that is not named."""
    not_offered: set[str] = field(default_factory=set)
    """Sizes that are retired, or closed to the subscription."""
    zones: Sequence[str] = ("1", "2", "3")
    limits: dict[str, int] = field(default_factory=dict)
    """vCPUs by family, with `cores` for the region and `lowPriorityCores` for spot."""
    used: dict[str, int] = field(default_factory=dict)
    """vCPUs that others in the subscription use."""
    free: dict[str, int] = field(default_factory=dict)
    """Free virtual machines by size, `spot/<size>` for spot; a size that is not named has plenty."""

    def refusal(
        self, name: str, properties: Mapping[str, Any], pools: Iterable[Mapping[str, Any]]
    ) -> Answer | None:
        """Why AKS does not even accept the pool."""
        size = str(properties["vmSize"])
        if not self.is_offered(size):
            # dotnet/core#7603
            return refused(
                400,
                "BadRequest",
                f"The VM size of AgentPoolProfile:{name} is not allowed in your subscription in location "
                f"'{self.region}'.  For more details, please visit https://aka.ms/aks/quotas-skus-regions",
            )
        used = self._used(pools)
        for family in self._families(properties):
            left = self._limit(family) - used.get(family, 0)
            if vcpus(size) > left:
                return self._no_quota(family, vcpus(size), left)
        return None

    def take(self, properties: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take a virtual machine; return AKS' `provisioningError` when none is free."""
        size = str(properties["vmSize"])
        key = f"spot/{size}" if is_spot(properties) else size
        if self.free.get(key, 1) > 0:
            if key in self.free:
                self.free[key] -= 1
            return None
        if is_spot(properties):
            return provisioning_error("SkuNotAvailable", no_capacity(size, self.region))
        is_zonal = bool(properties.get("availabilityZones"))
        code = "ZonalAllocationFailed" if is_zonal else "AllocationFailed"
        return provisioning_error(code, ALLOCATION_WORDS[code])

    def give_back(self, properties: Mapping[str, Any]) -> None:
        """A virtual machine is gone."""
        size = str(properties["vmSize"])
        key = f"spot/{size}" if is_spot(properties) else size
        if key in self.free:
            self.free[key] += 1

    def gpus_of(self, size: str) -> int | None:
        """How many GPUs a size has; None for one without."""
        return {name.lower(): count for name, count in self.gpus.items()}.get(size.lower())

    def memory_of(self, size: str) -> str:
        """How much memory a size has."""
        known = {name.lower(): amount for name, amount in self.memory.items()}
        return known.get(size.lower(), "64Gi")

    def is_offered(self, size: str) -> bool:
        """Whether the subscription may have that size here."""
        return size.lower() not in {name.lower() for name in self.not_offered}

    def skus(self) -> Answer:
        """`GET /subscriptions/{s}/providers/Microsoft.Compute/skus`."""
        names = sorted(self._listed() | self.not_offered)
        return ok(200, {"value": [self._sku(name) for name in names]})

    def usages(self, pools: Iterable[Mapping[str, Any]]) -> Answer:
        """`GET .../providers/Microsoft.Compute/locations/{l}/usages`."""
        used = self._used(pools)
        families = (
            {family_of(name) for name in self._listed()} | {REGIONAL, SPOT_FAMILY} | set(used)
        )
        return ok(200, {"value": [self._usage(name, used) for name in sorted(families)]})

    def _listed(self) -> set[str]:
        return self.sizes | set(self.gpus)

    def _sku(self, name: str) -> dict[str, Any]:
        restriction = {
            "type": "Location",
            "values": [self.region],
            "reasonCode": "NotAvailableForSubscription",
            "restrictionInfo": {"locations": [self.region]},
        }
        return {
            "resourceType": "virtualMachines",
            "name": name,
            "family": family_of(name),
            "locations": [self.region],
            "locationInfo": [{"location": self.region, "zones": list(self.zones)}],
            "capabilities": [{"name": "vCPUs", "value": str(vcpus(name))}],
            "restrictions": [] if self.is_offered(name) else [restriction],
        }

    def _usage(self, family: str, used: Mapping[str, int]) -> dict[str, Any]:
        return {
            "unit": "Count",
            "currentValue": used.get(family, 0),
            "limit": self._limit(family),
            "name": {"value": family, "localizedValue": f"{family} vCPUs"},
        }

    def _used(self, pools: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        used = dict(self.used)
        for properties in pools:
            for family in self._families(properties):
                used[family] = used.get(family, 0) + vcpus(str(properties["vmSize"]))
        return used

    def _families(self, properties: Mapping[str, Any]) -> Sequence[str]:
        """The quotas that a pool counts for."""
        if is_spot(properties):
            return (SPOT_FAMILY,)
        return (family_of(str(properties["vmSize"])), REGIONAL)

    def _limit(self, family: str) -> int:
        return self.limits.get(family, PLENTY)

    def _no_quota(self, family: str, wanted: int, left: int) -> Answer:
        said = (
            f"Insufficient regional vcpu quota left for location {self.region}. left regional vcpu "
            f"quota {left}, requested quota {wanted}."
            if family == REGIONAL
            else f"Insufficient vcpu quota requested {wanted}, remaining {left} for family {family} for "
            f"region {self.region}."
        )
        return refused(400, "ErrCode_InsufficientVCPUQuota", f"{said} {_MORE_QUOTA}")


def vcpus(size: str) -> int:
    """The first number in the name of a size."""
    found = _SIZE.fullmatch(size)
    return int(found[2]) if found else 1


def family_of(size: str) -> str:
    """Azure's way to name the family, as in `standardNCSv3Family` for Standard_NC6s_v3."""
    found = _SIZE.fullmatch(size)
    if not found:
        return "standardFamily"
    return f"standard{found[1].upper()}{found[3].upper()}{found[4].replace('_', '')}Family"
