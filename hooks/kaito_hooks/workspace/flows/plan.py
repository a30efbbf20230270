"""What both flows start from and end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest, is_deleting
from kaito_hooks.workspace.admission import refusal
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.children.tuning import Adapter
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.idle import Idle, look
from kaito_hooks.workspace.machines import Nodes, machine_manifest, plan_nodes
from kaito_hooks.workspace.observed import Observed, kept, strings

NO_NODES = Nodes((), (), (), ())


@dataclass(frozen=True, slots=True)
class Scene:
    """A Workspace that can be, and what was observed of it."""

    observed: Observed
    context: Context
    workspace: Workspace
    chosen: Fit
    released: Mapping[str, Any] | None = None
    """What the status says of nodes that were given back because they served nobody."""

    def idle(self, nodes: Nodes) -> Idle:
        """Whether these nodes serve nobody."""
        limit = self.context.idle_limit
        if limit is not None:
            limit = max(limit, timedelta(seconds=self.chosen.preset.ready_seconds))
        return replace(look(self.observed, nodes, limit, self.context.now), released=self.released)

    def refused(self, workload: Callable[[Nodes], Manifest]) -> str:
        """Why the namespace would refuse the pod of a workload before a node is paid for, in the API server's words."""
        return "" if self.has_machines() else refusal(self.observed, workload(NO_NODES))

    def nodes(self) -> Nodes:
        """The nodes it should have."""
        in_use = strings(self.observed.status.get("workerNodes"))
        return plan_nodes(self.workspace, self.observed.machines, self.observed.nodes, in_use)

    def machines(self, nodes: Nodes) -> list[Manifest]:
        """A Machine that exists is declared as it is: its spec is final."""
        return [
            kept(slot.observed)
            if slot.observed
            else machine_manifest(self.workspace, slot, self.chosen.preset.disk)
            for slot in nodes.slots
        ]

    def has_machines(self) -> bool:
        """Whether nodes are paid for, or about to be."""
        return not all(is_deleting(machine) for machine in self.observed.machines)

    def deployment(self) -> Manifest | None:
        """The Deployment as it is."""
        return self.observed.child("Deployment", self.workspace.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """The children that should exist and how far each stage is."""

    nodes: Nodes
    children: Sequence[Manifest]
    stages: Sequence[Condition]
    required: Sequence[str]
    """Types of the stages that `Ready` needs, in the order in which they come true."""
    taken: Manifest | None = None
    """An object of somebody else that has the name of a child."""
    idle: Idle = field(default_factory=Idle)
    failed: bool = False
    """A person must change something before anything else is tried."""
    adapter: Adapter | None = None
    """The adapter that the status tells of."""
