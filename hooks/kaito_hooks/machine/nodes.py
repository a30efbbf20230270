"""Nodes as the Machine hook sees them: those that carry the Machine's uid as a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaito_hooks.api import labels as keys
from kaito_hooks.api.nodes import is_ready
from kaito_hooks.kube.objects import (
    Manifest,
    get_in,
    labels_of,
    mapping,
    name,
    sequence,
    text,
)

GPU = "nvidia.com/gpu"
RESOURCES = ("cpu", "memory", "pods", GPU)
"""What of a Node's amounts is shown: the rest moves with the load, and a moving status is a loop."""

EPHEMERAL_TAINTS = frozenset(
    {
        ("node.kubernetes.io/not-ready", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.cloudprovider.kubernetes.io/uninitialized", "NoSchedule"),
    }
)
"""Taints that Kubernetes takes away by itself (Karpenter's list)."""

_MIB_PER = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}


@dataclass(frozen=True, slots=True)
class Node:
    """A Node as observed."""

    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        return name(self.manifest)

    @property
    def provider_id(self) -> str:
        """The cloud's name of the virtual machine."""
        return text(get_in(self.manifest, "spec", "providerID"))

    @property
    def is_ready(self) -> bool:
        """Whether its kubelet reports, and it is not on its way out."""
        return is_ready(self.manifest)

    @property
    def gpus(self) -> int:
        """GPUs that pods may have."""
        amount = mapping(get_in(self.manifest, "status", "allocatable")).get(GPU)
        try:
            return int(amount) if isinstance(amount, str | int) else 0
        except ValueError:
            return 0

    @property
    def taints(self) -> frozenset[tuple[str, str]]:
        """Key and effect of each."""
        found = (mapping(item) for item in sequence(get_in(self.manifest, "spec", "taints")))
        return frozenset((text(item.get("key")), text(item.get("effect"))) for item in found)

    def fields(self) -> Mapping[str, Any]:
        """What a Machine's status shows of it."""
        found = {
            "nodeName": self.name,
            "providerID": self.provider_id,
            "capacity": self._amounts("capacity"),
            "allocatable": self._amounts("allocatable"),
        }
        return {key: value for key, value in found.items() if value}

    def _amounts(self, field: str) -> Mapping[str, str]:
        """Memory in whole GiB."""
        found = mapping(get_in(self.manifest, "status", field))
        return {key: _rounded(found[key]) for key in RESOURCES if _is_amount(found.get(key))}


def nodes_of(uid: str, related: Sequence[Manifest]) -> tuple[Node, ...]:
    """The Nodes of one Machine; what else is in the list is nobody's business here."""
    if not uid:
        return ()
    return tuple(Node(item) for item in related if labels_of(item).get(keys.MACHINE_UID) == uid)


def _is_amount(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and len(str(value)) <= 32


def _rounded(amount: str | int) -> str:
    value = str(amount)
    per = _MIB_PER.get(value[-2:])
    if per is None or not value[:-2].isdecimal():
        return value
    return f"{int(int(value[:-2]) * per) // 1024}Gi"
