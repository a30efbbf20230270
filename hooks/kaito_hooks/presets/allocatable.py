"""What a node of an Azure size has left for our pods: its memory and processors less what the virtual machine, AKS and
its daemonsets keep.

Sources: learn.microsoft.com/azure/aks/node-resource-reservations for both rules of AKS; Karpenter's provider for Azure
(`VM_MEMORY_OVERHEAD_PERCENT`, pkg/providers/instancetype) for the virtual machine's own share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets.types import InstanceType

MIB = 1 << 20
VM_OVERHEAD_PERMILLE = 75
"""Of the nominal memory, what the hypervisor and the kernel keep: a node never sees it."""
MOST_PODS = 250
"""The most that AKS lets a node have; its default with an overlay network. Pools that are made take the cluster's."""
MEMORY_RESERVED_PERCENT = ((4, 25), (8, 20), (16, 10), (128, 6), (1 << 20, 2))
"""Before AKS 1.29: up to so many GiB, so many per cent of what lies above the step before."""
CPU_RESERVED_PERMILLE = ((1, 60), (2, 40), (4, 20), (1 << 20, 10))
"""The same for processors: 140 millicores of 4, 740 of 64."""
DAEMONSETS_MEMORY, DAEMONSETS_MILLICORES = 2 * GIB, 1000
"""Requests of kube-proxy, Azure CNI, CSI drivers, cloud-node-manager, container insights, managed Prometheus and a
device plugin: together about 1.3 GiB and 0.7 of a processor, rounded up.
"""


@dataclass(frozen=True, slots=True)
class Allocatable:
    """What pods may request together."""

    memory: int
    """Bytes."""
    millicores: int


def allocatable(size: InstanceType) -> Allocatable:
    """Of a node that AKS made, under whichever rule keeps more: the cluster's version is not known here."""
    memory = size.host_memory * (1000 - VM_OVERHEAD_PERMILLE) // 1000
    kept = max(_kept_since_1_29(size.host_memory), _kept_before_1_29(size.host_memory))
    cpu_kept = _stepwise(size.vcpus, CPU_RESERVED_PERMILLE)
    return Allocatable(
        memory=memory - kept - DAEMONSETS_MEMORY,
        millicores=1000 * size.vcpus - cpu_kept - DAEMONSETS_MILLICORES,
    )


def _kept_since_1_29(memory: int) -> int:
    """20 MB for each pod and 50 MB, at most a quarter; a pod is evicted when less than 100 MiB are free."""
    return min((20 * MOST_PODS + 50) * 10**6, memory // 4) + 100 * MIB


def _kept_before_1_29(memory: int) -> int:
    """A pod is evicted when less than 750 MiB are free."""
    return (
        _stepwise(memory // MIB, [(up_to * 1024, rate) for up_to, rate in MEMORY_RESERVED_PERCENT])
        * MIB
        // 100
        + 750 * MIB
    )


def _stepwise(amount: int, steps: Sequence[tuple[int, int]]) -> int:
    """As a tax: each rate holds for what lies between two steps."""
    kept, below = 0, 0
    for up_to, rate in steps:
        kept += max(0, min(amount, up_to) - below) * rate
        below = up_to
    return kept
