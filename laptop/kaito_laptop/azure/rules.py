"""What AKS does not accept in a pool, whoever asks and whatever is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaito_laptop.azure.answers import Answer, refused
from kaito_laptop.azure.spot import is_spot

MOST_POOLS = 100
DISK_GB = range(30, 2049)
OS_SKUS = frozenset(
    {
        "Ubuntu",
        "Ubuntu2204",
        "Ubuntu2404",
        "AzureLinux",
        "AzureLinux3",
        "AzureContainerLinux",
        "CBLMariner",
        "Windows2019",
        "Windows2022",
        "Windows2025",
    }
)
"""The enum of azure-mgmt-containerservice 41.8."""
RESERVED_LABELS = frozenset({"agentpool", "storageprofile", "storagetier", "accelerator"})
"""Azure/karpenter-provider-azure#1707."""
_NAMESPACES = ("kubernetes.io", "k8s.io")
_ALLOWED = ("kubelet.kubernetes.io", "node.kubernetes.io")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pool would be."""

    region: str
    zones: Sequence[str]
    version: str
    """Of the control plane."""


@dataclass(frozen=True, slots=True)
class Requested:
    """A pool that is asked for."""

    pool: str
    properties: Mapping[str, Any]
    place: Place


def refusal(requested: Requested) -> Answer | None:
    """The first rule that is broken."""
    return next((found for rule in _RULES if (found := rule(requested))), None)


def too_many(most: int) -> Answer:
    """The answer to one pool more; Azure documents the code, but not its words."""
    return refused(
        400,
        "MaxAgentPoolCountReached",
        f"The maximum number of agent pools ({most}) for the managed cluster has been reached.",
    )


def _spot(requested: Requested) -> Answer | None:
    """Spot pools are upgraded as AKS sees fit."""
    if not is_spot(requested.properties):
        return None
    settings = requested.properties.get("upgradeSettings") or {}
    # hashicorp/terraform-provider-azurerm#31129
    if settings.get("maxUnavailable") is not None:
        target = "agentPoolProfile.upgradeSettings.maxUnavailable"
        return _invalid(target, "Spot pools can't set maxUnavailable.")
    # jenkins-infra/azure#730
    if settings.get("maxSurge") is not None:
        said = "Spot pools can't set max surge. Please see https://aka.ms/aks-naming-rules for more details."
        return _invalid("agentPoolProfile.upgrade.maxSurge", said)
    return None


def _labels(requested: Requested) -> Answer | None:
    labels = requested.properties.get("nodeLabels") or {}
    found = (_label(requested.pool, key, str(value)) for key, value in labels.items())
    return next((answer for answer in found if answer is not None), None)


def _label(pool: str, key: str, value: str) -> Answer | None:
    prefix, _, name = key.rpartition("/")
    target = "agentPoolProfile.nodeLabels"
    # hashicorp/terraform-provider-azurerm#28636: the pool's own name is accepted.
    if not prefix and name in RESERVED_LABELS and (name, value) != ("agentpool", pool):
        said = f"The node label key '{key}' is reserved by AKS and not allowed."
        return refused(400, "NodeLabelKeyNotAllowed", said, target=target)
    # ams0/aks-nvme-ssd-provisioner#5
    if _is_within(prefix, ("kubernetes.azure.com",)):
        return refused(
            400,
            "BadRequest",
            f"Invalid node label key {key}. The 'kubernetes.azure.com' prefix is preserved by aks "
            "system labels",
        )
    # hashicorp/terraform-provider-azurerm#18567
    if _is_within(prefix, _NAMESPACES) and not _is_within(prefix, _ALLOWED):
        return refused(
            400,
            "BadRequest",
            "For Kubernetes version greater than or equal to 1.16, node label keys in the "
            "'kubernetes.io' or 'k8s.io' namespace must begin with an allowed prefix "
            "(kubelet.kubernetes.io, node.kubernetes.io). For more information, please check "
            "https://aka.ms/aks-node-labels-116.",
            target=f"{key}={value}",
        )
    return None


def _is_within(prefix: str, domains: Sequence[str]) -> bool:
    return any(prefix == domain or prefix.endswith(f".{domain}") for domain in domains)


def _zones(requested: Requested) -> Answer | None:
    """MicrosoftDocs/azure-aks-docs#416."""
    unknown = [
        zone
        for zone in requested.properties.get("availabilityZones") or ()
        if zone not in requested.place.zones
    ]
    if not unknown:
        return None
    return refused(
        400,
        "AvailabilityZoneNotSupported",
        f"The zone(s) {','.join(unknown)} for resource {requested.pool} is not supported. The supported zones "
        f"for location {requested.place.region} are {','.join(requested.place.zones) or '(empty)'}.",
    )


def _version(requested: Requested) -> Answer | None:
    """MicrosoftDocs/SupportArticles-docs, aks-upgrade-blocked.md."""
    current = requested.place.version
    wanted = str(requested.properties.get("orchestratorVersion") or current)
    asked, has = _numbers(wanted), _numbers(current)
    if asked <= has:
        return None
    is_patch = asked[:2] == has[:2]
    part, ours, theirs = ("Patch", asked[2], has[2]) if is_patch else ("Minor", asked[1], has[1])
    return refused(
        400,
        "NodePoolMcVersionIncompatible",
        f"Node pool version {wanted} and control plane version {current} are incompatible. "
        f"{part} version of node pool version {ours} is bigger than control plane version {theirs}. "
        "For more information, please check https://aka.ms/version-skew-policy.",
    )


def _numbers(version: str) -> tuple[int, int, int]:
    """Major, minor and patch, with zeros for what is left out."""
    numbers = [int(part) for part in version.split(".") if part.isdecimal()]
    major, minor, patch, *_ = (*numbers, 0, 0, 0)
    return major, minor, patch


def _disk(requested: Requested) -> Answer | None:
    """pulumi/pulumi-azure-native#663; 0 leaves the choice to AKS."""
    size = requested.properties.get("osDiskSizeGB") or 0
    if size == 0 or size in DISK_GB:
        return None
    said = (
        f"The OSDiskSize for Agent {requested.pool} cannot be less than 30GB or larger than 2048GB."
    )
    return refused(400, "InvalidParameter", said, target="agentPoolProfile.osDiskSizeGB")


def _os_sku(requested: Requested) -> Answer | None:
    """Azure documents the code, but not its words."""
    sku = requested.properties.get("osSKU") or "Ubuntu"
    if sku in OS_SKUS:
        return None
    said = f"OSSKU '{sku}' is invalid. The supported values are: {', '.join(sorted(OS_SKUS))}."
    return refused(400, "InvalidOSSKU", said, target="agentPoolProfile.osSKU")


def _invalid(target: str, why: str) -> Answer:
    said = f"The value of parameter {target} is invalid. Error details: {why}"
    return refused(400, "InvalidParameter", said, target=target)


_RULES: Sequence[Callable[[Requested], Answer | None]] = (
    _labels,
    _disk,
    _os_sku,
    _version,
    _spot,
    _zones,
)
