"""The Node that joins when a pool is ready, as AKS labels it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from kaito_laptop.cluster import Manifest

GPU = "nvidia.com/gpu"


def node_name(pool: str) -> str:
    """AKS' name of the first virtual machine of a pool."""
    return f"{_scale_set(pool)}000000"


def node(
    pool: str,
    properties: Mapping[str, Any],
    *,
    gpus: int,
    is_ready: bool,
    node_resource_group: str,
    now: str,
) -> Manifest:
    """A Node of that pool."""
    amounts = {"cpu": "8", "memory": "64Gi", "pods": "110", "ephemeral-storage": "128Gi"}
    has_gpus = properties["vmSize"].lower().startswith("standard_n")
    if has_gpus:
        amounts[GPU] = str(gpus)
    labels = {
        "agentpool": pool,
        "kubernetes.azure.com/agentpool": pool,
        "kubernetes.azure.com/mode": str(properties.get("mode", "User")).lower(),
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node_name(pool),
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": properties["vmSize"],
        **(
            {"accelerator": "nvidia", "kubernetes.azure.com/accelerator": "nvidia"}
            if has_gpus
            else {}
        ),
        **(properties.get("nodeLabels") or {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(pool), "labels": labels},
        "spec": {
            "providerID": f"azure:///{node_resource_group}/providers/Microsoft.Compute"
            f"/virtualMachineScaleSets/{_scale_set(pool)}/virtualMachines/0",
            "taints": [_taint(text) for text in properties.get("nodeTaints") or ()],
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


def _scale_set(pool: str) -> str:
    return f"aks-{pool}-{zlib.crc32(pool.encode()) % 10**8:08d}-vmss"


def _taint(text: str) -> Manifest:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}
