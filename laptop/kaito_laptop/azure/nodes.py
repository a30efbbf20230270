"""The Node that joins when a pool is ready, as AKS labels it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kaito_laptop.azure.compute import vcpus
from kaito_laptop.azure.spot import SPOT, is_spot
from kaito_laptop.core.cluster import Manifest

GPU = "nvidia.com/gpu"
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


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine of a pool."""

    pool: str
    number: int
    gpus: int | None
    """None for a size without NVIDIA GPUs."""
    memory: str
    is_ready: bool
    resource_group: str

    @property
    def name(self) -> str:
        """Of the machine and of its Node."""
        return node_name(self.pool, self.number)


def node(machine: Machine, properties: Mapping[str, Any], now: str) -> Manifest:
    """The Node of a virtual machine; the properties are those of its pool."""
    amounts = {
        "cpu": str(vcpus(properties["vmSize"])),
        "memory": machine.memory,
        "pods": "110",
        "ephemeral-storage": f"{_disk_gib(properties) * DISK_PERCENT // 100}Gi",
    }
    if machine.gpus is not None:
        amounts[GPU] = str(machine.gpus)
    labels = {
        "agentpool": machine.pool,
        "kubernetes.azure.com/agentpool": machine.pool,
        "kubernetes.azure.com/mode": str(properties.get("mode", "User")).lower(),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": machine.name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": properties["vmSize"],
        **(
            {"accelerator": "nvidia", "kubernetes.azure.com/accelerator": "nvidia"}
            if machine.gpus is not None
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
        "metadata": {"name": machine.name, "labels": labels},
        "spec": {
            "providerID": f"azure:///{machine.resource_group}/providers/Microsoft.Compute"
            f"/virtualMachineScaleSets/{_scale_set(machine.pool)}/virtualMachines/{machine.number}",
            "taints": [_taint(text) for text in taints],
        },
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if machine.is_ready else "False",
                    "reason": "KubeletReady" if machine.is_ready else "KubeletNotReady",
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
