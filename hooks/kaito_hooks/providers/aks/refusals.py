"""What a refused PUT means, given what was asked for: the answer names a parameter, we know who chose it.

What came from a setting of the operator is not the Workspace's fault; what is about spot says nothing of a
regular node.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from kaito_hooks.kube.objects import text
from kaito_hooks.machine import denied
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import PoolRequest
from kaito_hooks.providers.aks import faults
from kaito_hooks.providers.aks.replies import Reply
from kaito_hooks.settings import MachineSettings

Given = Callable[[MachineSettings, PoolRequest], bool]

_SPOT = re.compile(
    r"\bspot\b|low.?priority|scaleSetPriority|scaleSetEviction|eviction ?policy", re.IGNORECASE
)
_SETTINGS: tuple[tuple[str, re.Pattern[str], Given], ...] = tuple(
    (name, re.compile(words, re.IGNORECASE), given)
    for name, words, given in (
        # AvailabilityZoneNotSupported: SupportArticles; MicrosoftDocs/azure-aks-docs#416.
        (
            "KAITO_POOL_ZONES",
            r"availability ?zone|\bzones?\b",
            lambda settings, request: bool(settings.zones),
        ),
        # SubnetNotFound, GetVnetError, SubnetIsDelegated, InvalidVnetSubnetID.
        (
            "KAITO_POOL_SUBNET_ID",
            r"subnet|vnet",
            lambda settings, request: bool(settings.subnet_id),
        ),
        ("KAITO_POOL_OS_SKU", r"os ?sku", lambda settings, request: True),
        (
            "KAITO_POOL_DISK_GIB",
            r"os ?disk ?size",
            lambda settings, request: bool(settings.disk_gib) and not request.disk_gib,
        ),
        (
            "KAITO_POOL_GPU_MANAGEMENT",
            r"management ?mode",
            lambda settings, request: settings.gpu_management != "Unmanaged",
        ),
        # ErrorCodeUnsupportedGPUDedicatedVHDVMSize: "not a SKU that supports GPU Driver Type Selection".
        (
            "KAITO_POOL_GPU_DRIVER",
            r"gpu ?(?:driver|profile)|GPUDedicatedVHD",
            lambda settings, request: settings.gpu_driver != "Install",
        ),
        (
            "KAITO_POOL_MAX_SURGE",
            r"max ?surge|max ?unavailable|upgrade ?settings",
            lambda settings, request: True,
        ),
    )
)
"""The setting, how AKS' codes, targets and sentences speak of it, and whether it was in the request."""


def of_put(
    reply: Reply, now: datetime, request: PoolRequest, settings: MachineSettings
) -> ProviderError:
    """The trouble that the answer to a PUT stands for."""
    error = faults.of_reply(reply, now)
    if request.is_spot and isinstance(error, denied.InsufficientCapacity):
        return denied.SpotShortage(error.code, error.detail, error.retry_after, error.ids)
    if not isinstance(error, denied.InvalidRequest | denied.SkuNotAvailable | denied.Forbidden):
        return error
    said = f"{error.code} {error.detail} {text(reply.json.get('target'))}"
    if request.is_spot and _SPOT.search(said):
        return denied.SpotRefused(error.code, error.detail, error.retry_after, error.ids)
    if isinstance(error, denied.InvalidRequest):
        for name, words, given in _SETTINGS:
            if words.search(said) and given(settings, request):
                return denied.SettingRefused(
                    name, error.code, error.detail, error.retry_after, error.ids
                )
    return error
