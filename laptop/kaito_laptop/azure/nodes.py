"""The Node that joins when a pool is ready, as AKS labels it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Protocol

from kaito_laptop.azure.compute import is_spot, vcpus
from kaito_laptop.core.cluster import Manifest

GPU = "nvidia.com/gpu"
SPOT = "kubernetes.azure.com/scalesetpriority"
"""Label and taint that AKS puts on the nodes of spot pools."""
DEFAULT_DISK_GIB = 128
DISK_PERCENT = 87
"""Of the OS disk, what pods may request: the rest is the file system's, and a tenth that the kubelet keeps free."""


class Nodes(Protocol):
    """Where Nodes join and leave."""

    def add(self, manifest: Manifest) -> None:
        """A Node has joined."""
        ...

    def remove(self, name: str) -> None:
        """A Node is gone."""
        ...


def node_name(pool: str, number: int = 0) -> str:
    """AKS' name of a virtual machine of a pool, as long as its number has one digit."""
    return f"{_scale_set(pool)}{number:06d}"


def node(
    pool: str,
    properties: Mapping[str, Any],
    *,
    number: int = 0,
    gpus: int | None,
    memory: str,
    is_ready: bool,
    node_resource_group: str,
    now: str,
) -> Manifest:
    """A Node of that pool; `gpus` is None for a size without NVIDIA GPUs."""
    amounts = {
        "cpu": str(vcpus(properties["vmSize"])),
        "memory": memory,
        "pods": "110",
        "ephemeral-storage": f"{_disk_gib(properties) * DISK_PERCENT // 100}Gi",
    }
    if gpus is not None:
        amounts[GPU] = str(gpus)
    labels = {
        "agentpool": pool,
        "kubernetes.azure.com/agentpool": pool,
        "kubernetes.azure.com/mode": str(properties.get("mode", "User")).lower(),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node_name(pool, number),
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": properties["vmSize"],
        **(
            {"accelerator": "nvidia", "kubernetes.azure.com/accelerator": "nvidia"}
            if gpus is not None
            else {}
        ),
        **({SPOT: "spot"} if is_spot(properties) else {}),
        **(properties.get("nodeLabels") or {}),
    }
    taints = [
        *(properties.get("nodeTaints") or ()),
        *([f"{SPOT}=spot:NoSchedule"] if is_spot(properties) else ()),
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(pool, number), "labels": labels},
        "spec": {
            "providerID": f"azure:///{node_resource_group}/providers/Microsoft.Compute"
            f"/virtualMachineScaleSets/{_scale_set(pool)}/virtualMachines/{number}",
            "taints": [_taint(text) for text in taints],
        },
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if is_ready else "False",
                    "reason": "KubeletReady" if is_ready else "KubeletNotReady",
                    "message": "",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
        },
    }


def _disk_gib(properties: Mapping[str, Any]) -> int:
    return int(properties.get("osDiskSizeGB") or DEFAULT_DISK_GIB)


def _scale_set(pool: str) -> str:
    return f"aks-{pool}-{zlib.crc32(pool.encode()) % 10**8:08d}-vmss"


def _taint(text: str) -> Manifest:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}
