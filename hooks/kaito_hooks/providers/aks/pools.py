"""An agent pool as AKS writes it: what we ask for, and what we read out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kaito_hooks.api import labels as keys
from kaito_hooks.api.nodes import accepted
from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.kube.objects import get_in, mapping, text
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine.provider import ListedPool, Ours, PoolRequest, Taint
from kaito_hooks.providers.aks.conventions import AKS
from kaito_hooks.providers.aks.error_mapping import of_pool
from kaito_hooks.providers.aks.settings import AksSettings

# Names of tags may not contain a slash.
UID_TAG = "kaito.sh_machine-uid"
MACHINE_TAG = "kaito.sh_machine"
INSTALL_TAG = "kaito.sh_install"
CREATED_TAG = "kaito.sh_created"
CREATED_LABEL = "kaito.sh/creation-timestamp"
"""gpu-provisioner's; tells the age when a policy has stripped the tags."""
_LABEL_LAYOUT = "%Y-%m-%dT%H-%M-%SZ"
"""A label's value may not contain a colon."""


def put_body(request: PoolRequest, settings: AksSettings, max_surge: int = 0) -> dict[str, Any]:
    """The pool to create: one node, not scaled by anyone, marked as the Machine's."""
    created = request.created.astimezone(UTC)
    properties: dict[str, Any] = {
        "count": 1,
        "enableAutoScaling": False,
        "vmSize": request.size,
        "type": "VirtualMachineScaleSets",
        "mode": "User",
        "osType": "Linux",
        "osSKU": settings.os_sku,
        "nodeLabels": {
            **accepted(request.labels, (AKS,)),
            CREATED_LABEL: created.strftime(_LABEL_LAYOUT),
        },
        "nodeTaints": [_taint(taint) for taint in request.taints],
        "tags": {
            UID_TAG: request.ref.uid,
            MACHINE_TAG: request.machine,
            INSTALL_TAG: settings.install_id,
            CREATED_TAG: timestamp(created),
        },
    }
    disk_gib = request.disk_gib or settings.disk_gib
    if disk_gib:
        properties["osDiskSizeGB"] = disk_gib
    gpu_profile = _gpu_profile(settings)
    if gpu_profile and request.labels.get(keys.MACHINE_TYPE) == "gpu":
        properties["gpuProfile"] = gpu_profile
    if settings.subnet_id:
        properties["vnetSubnetID"] = settings.subnet_id
    if settings.zones:
        properties["availabilityZones"] = list(settings.zones)
    if request.is_spot:
        properties["scaleSetPriority"] = "Spot"
        properties["scaleSetEvictionPolicy"] = "Delete"
        properties["spotMaxPrice"] = -1
    else:
        # AKS refuses them on spot (hashicorp/terraform-provider-azurerm#31129, Azure/bicep-types-az#2217). Its
        # default adds a second GPU node during an upgrade, and quota is checked for it.
        properties["upgradeSettings"] = {
            "maxSurge": str(max_surge),
            "maxUnavailable": str(1 - max_surge),
        }
    return {"properties": properties}


def _gpu_profile(settings: AksSettings) -> dict[str, Any]:
    """What differs from AKS' own choice: the driver is installed, the device plugin is not."""
    profile: dict[str, Any] = {}
    if settings.gpu_driver != "Install":
        profile["driver"] = settings.gpu_driver
    if settings.gpu_management != "Unmanaged":
        profile["nvidia"] = {"managementMode": settings.gpu_management}
    return profile


def read_pool(body: Mapping[str, Any]) -> Ours | None:
    """What the pool would be to its owner; None for a body that is no pool."""
    properties = mapping(body.get("properties"))
    state = text(properties.get("provisioningState"))
    if not state or not name_of(body):
        return None
    error = get_in(properties, "status", "provisioningError")
    return Ours(
        state=state,
        etag=text(properties.get("eTag")) or text(body.get("etag")),
        error=of_pool(error, is_spot=properties.get("scaleSetPriority") == "Spot"),
        created=_created(properties),
        stopped=get_in(properties, "powerState", "code") == "Stopped",
    )


def read_listed(body: Mapping[str, Any]) -> ListedPool | None:
    """One entry of the list; None for what is no pool."""
    seen = read_pool(body)
    if seen is None:
        return None
    properties = mapping(body.get("properties"))
    return ListedPool(
        name=name_of(body),
        seen=seen,
        uids=owners(body),
        install=_tags(properties).get(INSTALL_TAG, ""),
        is_system=text(properties.get("mode")).lower() == "system",
    )


def owners(body: Mapping[str, Any]) -> Sequence[str]:
    """Uids in tag and label: either proves whose the pool is, since policies strip tags."""
    properties = mapping(body.get("properties"))
    label = text(mapping(properties.get("nodeLabels")).get(keys.MACHINE_UID))
    return sorted({uid for uid in (_tags(properties).get(UID_TAG, ""), label) if uid})


def name_of(body: Mapping[str, Any]) -> str:
    """The pool's name."""
    return text(body.get("name"))


def _tags(properties: Mapping[str, Any]) -> Mapping[str, str]:
    """Tags with lower-case names: Azure keeps no case in them."""
    return {key.lower(): text(value) for key, value in mapping(properties.get("tags")).items()}


def _created(properties: Mapping[str, Any]) -> datetime | None:
    tagged = parse_timestamp(_tags(properties).get(CREATED_TAG))
    if tagged is not None:
        return tagged
    label = text(mapping(properties.get("nodeLabels")).get(CREATED_LABEL))
    try:
        return datetime.strptime(label, _LABEL_LAYOUT).replace(tzinfo=UTC)
    except ValueError:
        return None


def _taint(taint: Taint) -> str:
    value = f"={taint.value}" if taint.value else ""
    return f"{taint.key}{value}:{taint.effect}"
