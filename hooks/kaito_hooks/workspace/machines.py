"""How many nodes there are, and which Machines should exist. One function decides, one table tests it.

Rule: no sequence of observations may make a needed Machine disappear. So a Machine that exists is kept before
any existing node is counted, and the nodes that Machines made (they carry `kaito.sh/machine-uid`) never count as
such, neither ours nor another Workspace's. Only a Machine that says that nobody makes nodes gives way to them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito_hooks.api import labels, pods
from kaito_hooks.api.machines import NO_NODES_MADE, NODE_LOST, READY
from kaito_hooks.api.nodes import NodeConventions, is_ready
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


@dataclass(frozen=True, slots=True)
class Replica:
    """One wanted Machine."""

    index: int
    attempt: int
    name: str
    observed: Manifest | None
    """None until it shows up."""

    @property
    def is_ready(self) -> bool:
        """Whether its node can be used."""
        return is_true(get_in(self.observed, "status", "conditions"), READY)

    @property
    def node_name(self) -> str:
        """The node's name, empty until it has joined."""
        return text(get_in(self.observed, "status", "nodeName"))


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a Workspace: its Machines, then existing nodes that match."""

    replicas: Sequence[Replica]
    existing: Sequence[str]
    """Names of matching nodes that no Machine made."""
    not_ready: Sequence[str]
    """Those of `existing` that were in use and are not Ready now."""
    replaced: Sequence[str]
    """Names of Machines given up because their node was lost."""

    @property
    def machines_ready(self) -> bool:
        """Whether each wanted Machine is Ready."""
        return all(replica.is_ready for replica in self.replicas)

    @property
    def ready(self) -> bool:
        """Whether all nodes can be used."""
        return self.machines_ready and not self.not_ready

    @property
    def names(self) -> list[str]:
        """Names of the nodes that are there, sorted."""
        of_machines = (replica.node_name for replica in self.replicas)
        return sorted({*self.existing, *filter(None, of_machines)})


def machine_name(workspace_uid: str, index: int, attempt: int) -> str:
    """Also a legal name of a pool in any cloud: at most 12 lower-case letters and digits.

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
    """Own Machines first, then existing nodes that match, then Machines to be made, until `count` is reached.

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
    of_machines = [
        Replica(index, _attempt(machine), name(machine), machine)
        for index, machine in sorted(kept.items())
    ]
    replicas = [each for each in of_machines if not _makes_none(each.observed)][: workspace.count]
    existing = _existing_nodes(workspace, nodes, worker_nodes)[: workspace.count - len(replicas)]
    unfulfillable = [each for each in of_machines if _makes_none(each.observed)]
    replicas += unfulfillable[: workspace.count - len(replicas) - len(existing)]
    taken = {replica.index for replica in replicas}
    missing = workspace.count - len(replicas) - len(existing)
    open_indexes = [index for index in range(workspace.count + len(taken)) if index not in taken]
    for index in open_indexes[:missing]:
        attempt = 1 + max((_attempt(m) for m in machines if _index(m) == index), default=-1)
        replicas.append(Replica(index, attempt, machine_name(workspace.uid, index, attempt), None))
    ready = {name(node) for node in nodes if is_ready(node)}
    return Nodes(
        replicas=sorted(replicas, key=lambda replica: replica.index),
        existing=existing,
        not_ready=[node for node in existing if node not in ready],
        replaced=[name(machine) for machine in replaced],
    )


def machine_manifest(workspace: Workspace, replica: Replica, disk: str) -> Manifest:
    """The Machine as Kaito v0.3.0 writes it (pkg/machine/machine.go), in the Workspace's namespace."""
    return {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Machine",
        "metadata": {
            "name": replica.name,
            "namespace": workspace.namespace,
            "labels": {
                **workspace.match_labels,
                labels.PROVISIONER: "default",
                labels.WORKSPACE: workspace.name,
                labels.WORKSPACE_NAMESPACE: workspace.namespace,
                labels.WORKSPACE_UID: workspace.uid,
                labels.MACHINE_INDEX: str(replica.index),
                labels.MACHINE_ATTEMPT: str(replica.attempt),
            },
        },
        "spec": {
            "machineTemplateRef": {"name": replica.name},
            "requirements": [
                _requirement(labels.INSTANCE_TYPE, workspace.instance_type),
                _requirement(labels.PROVISIONER, "default"),
                _requirement(labels.MACHINE_TYPE, "gpu"),
                _requirement("kubernetes.io/arch", "amd64"),
                _requirement("kubernetes.io/os", "linux"),
                *_capacity_types(workspace),
            ],
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "resources": {"requests": {"storage": disk}},
        },
    }


def affinity(workspace: Workspace, nodes: Nodes) -> Manifest:
    """Pins pods to the nodes of this Workspace: those made for it, and the existing ones by name."""
    terms: list[Manifest] = []
    if nodes.replicas:
        terms.append(
            {
                "matchExpressions": [
                    {"key": labels.WORKSPACE_UID, "operator": "In", "values": [workspace.uid]}
                ]
            }
        )
    terms.extend(
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        for node in nodes.existing
    )
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }


def tolerations(workspace: Workspace, conventions: Sequence[NodeConventions]) -> list[Manifest]:
    """Of the pods that use the nodes: some services taint spot nodes."""
    is_spot = "spot" in workspace.capacity_types
    spot = [each.spot_toleration for each in conventions if is_spot and each.spot_toleration]
    return [dict(item) for item in (*pods.TOLERATIONS, *spot)]


def _existing_nodes(
    workspace: Workspace, nodes: Sequence[Manifest], worker_nodes: Sequence[str]
) -> list[str]:
    """Names in Kaito's order: preferred, in use, by name (TestSelectWorkspaceNodes of v0.3.0)."""
    matching = [
        name(node)
        for node in nodes
        if _matches(workspace, labels_of(node))
        and labels.MACHINE_UID not in labels_of(node)
        and not is_deleting(node)
        and (is_ready(node) or name(node) in worker_nodes)
    ]
    return sorted(
        matching,
        key=lambda node: (node not in workspace.preferred_nodes, node not in worker_nodes, node),
    )


def _matches(workspace: Workspace, node_labels: Mapping[str, str]) -> bool:
    size = node_labels.get(labels.INSTANCE_TYPE, workspace.instance_type)
    return size == workspace.instance_type and all(
        node_labels.get(key) == value for key, value in workspace.match_labels.items()
    )


def _is_lost(machine: Manifest) -> bool:
    return not is_deleting(machine) and _ready_reason(machine) == NODE_LOST


def _makes_none(machine: Manifest | None) -> bool:
    return _ready_reason(machine) == NO_NODES_MADE


def _ready_reason(machine: Manifest | None) -> str:
    return text(find(get_in(machine, "status", "conditions"), READY).get("reason"))


def _index(machine: Manifest) -> int:
    return _whole(labels_of(machine).get(labels.MACHINE_INDEX, ""))


def _attempt(machine: Manifest) -> int:
    return _whole(labels_of(machine).get(labels.MACHINE_ATTEMPT, ""))


def _whole(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0


def _capacity_types(workspace: Workspace) -> list[Manifest]:
    """Karpenter's requirement; a Machine without it is never a spot node."""
    values = list(workspace.capacity_types)
    return [{"key": labels.CAPACITY_TYPE, "operator": "In", "values": values}] if values else []


def _requirement(key: str, value: str) -> Manifest:
    return {"key": key, "operator": "In", "values": [value]}
