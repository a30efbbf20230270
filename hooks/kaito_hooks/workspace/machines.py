"""How many nodes there are, and which Machines should exist. One function decides, one table tests it.

Rule: no sequence of observations may make a needed Machine disappear. So a Machine that exists is kept before
any free node is counted, and the nodes that Machines made (they carry `kaito.sh/machine-uid`) never count as
free, neither ours nor another Workspace's. Only a Machine that says that nobody makes nodes gives way to free ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito_hooks.api import labels, pods
from kaito_hooks.kube.conditions import find, is_true
from kaito_hooks.kube.objects import (
    Manifest,
    get_in,
    is_deleting,
    labels_of,
    name,
    text,
)
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.observed import is_ready_node

INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
CAPACITY_TYPE_LABEL = "karpenter.sh/capacity-type"
SPOT_TOLERATION: Manifest = {
    "effect": "NoSchedule",
    "key": "kubernetes.azure.com/scalesetpriority",
    "operator": "Equal",
    "value": "spot",
}
NO_NODES_MADE = "NoNodesMade"
"""Reason of a Machine's `Ready` where users bring their own nodes."""
NODE_LOST = "NodeLost"
"""Reason of a Machine's `Ready` when its node was there and has been gone for ten minutes."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One wanted Machine."""

    index: int
    attempt: int
    name: str
    observed: Manifest | None
    """None until it shows up."""

    @property
    def is_ready(self) -> bool:
        """Whether its node can be used."""
        return is_true(get_in(self.observed, "status", "conditions"), "Ready")

    @property
    def node_name(self) -> str:
        """The node's name, empty until it has joined."""
        return text(get_in(self.observed, "status", "nodeName"))


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a Workspace: its Machines, then free nodes."""

    slots: Sequence[Slot]
    free: Sequence[str]
    """Names of matching nodes that no Machine made."""
    unready_free: Sequence[str]
    """Those of `free` that were in use and are not Ready now."""
    replaced: Sequence[str]
    """Names of Machines given up because their node was lost."""

    @property
    def machines_ready(self) -> bool:
        """Whether each wanted Machine is Ready."""
        return all(slot.is_ready for slot in self.slots)

    @property
    def ready(self) -> bool:
        """Whether all nodes can be used."""
        return self.machines_ready and not self.unready_free

    @property
    def names(self) -> list[str]:
        """Names of the nodes that are there, sorted."""
        return sorted({*self.free, *(slot.node_name for slot in self.slots if slot.node_name)})


def machine_name(workspace_uid: str, index: int, attempt: int) -> str:
    """Also a legal name of an agent pool: at most 12 lower-case letters and digits.

    Made from the uid, so that a Workspace created again never meets the dying pool of its predecessor.
    """
    digest = hashlib.sha256(f"{workspace_uid}/{index}/{attempt}".encode()).hexdigest()
    return f"ws{digest[:10]}"


def plan_nodes(
    workspace: Workspace,
    machines: Sequence[Manifest],
    nodes: Sequence[Manifest],
    worker_nodes: Sequence[str],
) -> Nodes:
    """Own Machines first, then free nodes that match, then Machines to be made, until `count` is reached.

    `worker_nodes` are the names in use so far: such a node keeps its place while it is not Ready, as long as it exists.
    """
    replaced = [machine for machine in machines if _is_lost(machine)]
    gone = {name(machine) for machine in machines if is_deleting(machine)} | {
        name(m) for m in replaced
    }
    living = sorted(
        (machine for machine in machines if name(machine) not in gone),
        key=lambda machine: (_index(machine), -_attempt(machine), name(machine)),
    )
    kept: dict[int, Manifest] = {}
    for machine in living:
        kept.setdefault(_index(machine), machine)
    own = [
        Slot(index, _attempt(machine), name(machine), machine)
        for index, machine in sorted(kept.items())
    ]
    slots = [slot for slot in own if not _makes_none(slot.observed)][: workspace.count]
    free = _free_nodes(workspace, nodes, worker_nodes)[: workspace.count - len(slots)]
    vain = [slot for slot in own if _makes_none(slot.observed)]
    slots += vain[: workspace.count - len(slots) - len(free)]
    taken = {slot.index for slot in slots}
    missing = workspace.count - len(slots) - len(free)
    open_indexes = [index for index in range(workspace.count + len(taken)) if index not in taken]
    for index in open_indexes[:missing]:
        attempt = 1 + max((_attempt(m) for m in machines if _index(m) == index), default=-1)
        slots.append(Slot(index, attempt, machine_name(workspace.uid, index, attempt), None))
    ready = {name(node) for node in nodes if is_ready_node(node)}
    return Nodes(
        slots=sorted(slots, key=lambda slot: slot.index),
        free=free,
        unready_free=[node for node in free if node not in ready],
        replaced=[name(machine) for machine in replaced],
    )


def machine_manifest(workspace: Workspace, slot: Slot, disk: str) -> Manifest:
    """The Machine as Kaito v0.3.0 writes it (pkg/machine/machine.go), in the Workspace's namespace."""
    return {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Machine",
        "metadata": {
            "name": slot.name,
            "namespace": workspace.namespace,
            "labels": {
                **workspace.match_labels,
                labels.PROVISIONER: "default",
                labels.WORKSPACE: workspace.name,
                labels.WORKSPACE_NAMESPACE: workspace.namespace,
                labels.WORKSPACE_UID: workspace.uid,
                labels.MACHINE_INDEX: str(slot.index),
                labels.MACHINE_ATTEMPT: str(slot.attempt),
            },
        },
        "spec": {
            "machineTemplateRef": {"name": slot.name},
            "requirements": [
                _requirement(INSTANCE_TYPE_LABEL, workspace.instance_type),
                _requirement(labels.PROVISIONER, "default"),
                _requirement("kaito.sh/machine-type", "gpu"),
                _requirement("kubernetes.io/arch", "amd64"),
                _requirement("kubernetes.io/os", "linux"),
                *_capacity_types(workspace),
            ],
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "resources": {"requests": {"storage": disk}},
        },
    }


def affinity(workspace: Workspace, nodes: Nodes) -> Manifest:
    """Pins pods to the nodes of this Workspace: those made for it, and the free ones by name."""
    terms: list[Manifest] = []
    if nodes.slots:
        terms.append(
            {
                "matchExpressions": [
                    {"key": labels.WORKSPACE_UID, "operator": "In", "values": [workspace.uid]}
                ]
            }
        )
    terms.extend(
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        for node in nodes.free
    )
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }


def tolerations(workspace: Workspace) -> list[Manifest]:
    """Of the pods that use the nodes: AKS itself taints spot nodes."""
    spot = [SPOT_TOLERATION] if "spot" in workspace.capacity_types else []
    return [dict(item) for item in (*pods.TOLERATIONS, *spot)]


def _free_nodes(
    workspace: Workspace, nodes: Sequence[Manifest], worker_nodes: Sequence[str]
) -> list[str]:
    """Names in Kaito's order: preferred, in use, by name (TestSelectWorkspaceNodes of v0.3.0)."""
    matching = [
        name(node)
        for node in nodes
        if _matches(workspace, labels_of(node))
        and labels.MACHINE_UID not in labels_of(node)
        and not is_deleting(node)
        and (is_ready_node(node) or name(node) in worker_nodes)
    ]
    return sorted(
        matching,
        key=lambda node: (node not in workspace.preferred_nodes, node not in worker_nodes, node),
    )


def _matches(workspace: Workspace, node_labels: Mapping[str, str]) -> bool:
    size = node_labels.get(INSTANCE_TYPE_LABEL, workspace.instance_type)
    return size == workspace.instance_type and all(
        node_labels.get(key) == value for key, value in workspace.match_labels.items()
    )


def _is_lost(machine: Manifest) -> bool:
    return not is_deleting(machine) and _ready_reason(machine) == NODE_LOST


def _makes_none(machine: Manifest | None) -> bool:
    return _ready_reason(machine) == NO_NODES_MADE


def _ready_reason(machine: Manifest | None) -> str:
    return text(find(get_in(machine, "status", "conditions"), "Ready").get("reason"))


def _index(machine: Manifest) -> int:
    return _whole(labels_of(machine).get(labels.MACHINE_INDEX, ""))


def _attempt(machine: Manifest) -> int:
    return _whole(labels_of(machine).get(labels.MACHINE_ATTEMPT, ""))


def _whole(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


def _capacity_types(workspace: Workspace) -> list[Manifest]:
    """Karpenter's requirement; a Machine without it is never a spot node."""
    values = list(workspace.capacity_types)
    return [{"key": CAPACITY_TYPE_LABEL, "operator": "In", "values": values}] if values else []


def _requirement(key: str, value: str) -> Manifest:
    return {"key": key, "operator": "In", "values": [value]}
