"""Why a pool failed, as `properties.status.provisioningError` says it.

A code of Microsoft.Compute, once more in the details; the message begins with the scale set (Azure/AKS#5808).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALLOCATION = (
    "Allocation failed. We do not have sufficient capacity for the requested VM size in this {}. Read "
    "more about improving likelihood of allocation success at https://aka.ms/allocation-guidance"
)
ALLOCATION_WORDS: Mapping[str, str] = {
    "AllocationFailed": _ALLOCATION.format("region"),
    "ZonalAllocationFailed": _ALLOCATION.format("zone"),
}
"""What Microsoft.Compute says with each code."""


def no_capacity(size: str, region: str) -> str:
    """Microsoft.Compute's words when it has no virtual machine of a size, as for spot."""
    return (
        f"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' "
        f"is currently not available in location '{region}'. Please try another size or deploy to a "
        "different location or different zone. See https://aka.ms/azureskunotavailable for details."
    )


def provisioning_error(code: str, said: str) -> Mapping[str, Any]:
    """What failed a pool."""
    text = (
        "Create or update VMSS /subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups"
        "/MC_laptop_laptop_laptop/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-vmss "
        f"failed. {said}"
    )
    return {"code": code, "message": text, "details": [{"code": code, "message": said}]}
