"""What a refused PUT means, given what was asked for: the answer names a parameter, we know who chose it.

What came from a setting of the operator is not the Workspace's fault; what is about spot says nothing of a
regular node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from kaito_hooks.kube.objects import text
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import PoolRequest
from kaito_hooks.providers.aks import error_mapping, errors
from kaito_hooks.providers.aks.responses import Response
from kaito_hooks.providers.aks.settings import AksSettings

_SPOT = re.compile(
    r"\bspot\b|low.?priority|scaleSetPriority|scaleSetEviction|eviction ?policy", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting of the operator that is part of the request."""

    name: str
    pattern: re.Pattern[str]
    """How AKS' codes, targets and sentences speak of it."""
    field: str
    unset: object = None
    """The value with which it is not sent; None where it always is."""

    def is_meant(self, answer: str, settings: AksSettings, request: PoolRequest) -> bool:
        """Whether the answer speaks of it, and it was in the request."""
        if self.field == "disk_gib" and request.disk_gib:
            return False  # The Workspace's own.
        is_sent = self.unset is None or getattr(settings, self.field) != self.unset
        return is_sent and bool(self.pattern.search(answer))


_SETTINGS = tuple(
    _Setting(name, re.compile(pattern, re.IGNORECASE), *rest)
    for name, pattern, *rest in (
        # AvailabilityZoneNotSupported: SupportArticles; MicrosoftDocs/azure-aks-docs#416.
        ("KAITO_POOL_ZONES", r"availability ?zone|\bzones?\b", "zones", ()),
        # SubnetNotFound, GetVnetError, SubnetIsDelegated, InvalidVnetSubnetID.
        ("KAITO_POOL_SUBNET_ID", r"subnet|vnet", "subnet_id", ""),
        ("KAITO_POOL_OS_SKU", r"os ?sku", "os_sku"),
        ("KAITO_POOL_DISK_GIB", r"os ?disk ?size", "disk_gib", 0),
        ("KAITO_POOL_GPU_MANAGEMENT", r"management ?mode", "gpu_management", "Unmanaged"),
        # ErrorCodeUnsupportedGPUDedicatedVHDVMSize: "not a SKU that supports GPU Driver Type Selection".
        (
            "KAITO_POOL_GPU_DRIVER",
            r"gpu ?(?:driver|profile)|GPUDedicatedVHD",
            "gpu_driver",
            "Install",
        ),
        ("KAITO_POOL_MAX_SURGE", r"max ?surge|max ?unavailable|upgrade ?settings", "max_surge"),
    )
)


def of_put(
    response: Response, now: datetime, request: PoolRequest, settings: AksSettings
) -> ProviderError:
    """The error that the answer to a PUT stands for."""
    error = error_mapping.of_response(response, now)
    if request.is_spot and isinstance(error, errors.InsufficientCapacity):
        return errors.SpotShortage(error.code, error.detail, error.retry_after, error.ids)
    if not isinstance(error, errors.InvalidRequest | errors.SkuNotAvailable | errors.Forbidden):
        return error
    answer = f"{error.code} {error.detail} {text(response.json.get('target'))}"
    if request.is_spot and _SPOT.search(answer):
        return errors.SpotRefused(error.code, error.detail, error.retry_after, error.ids)
    if isinstance(error, errors.InvalidRequest):
        for setting in _SETTINGS:
            if setting.is_meant(answer, settings, request):
                return errors.SettingRefused(
                    error.code, error.detail, error.retry_after, error.ids, setting=setting.name
                )
    return error
