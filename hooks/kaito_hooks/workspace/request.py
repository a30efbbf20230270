"""What one call decides about: a valid Workspace, what was observed of it, and the model and size that go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kaito_hooks.kube.objects import Manifest, is_deleting
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.context import Context, Images
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.machines import Nodes, machine_manifest, plan_nodes
from kaito_hooks.workspace.observed import Observed, as_last_applied, strings
from kaito_hooks.workspace.runtime import VllmPlan


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Everything that an answer depends on."""

    observed: Observed
    context: Context
    workspace: Workspace
    fit: Fit
    vllm: VllmPlan | None = None
    """How vLLM serves the model; None: the transformers engine does."""
    released: Mapping[str, Any] | None = None
    """What the status says of nodes that were given back because they served nobody."""

    @property
    def images(self) -> Images:
        """Of the runtime."""
        return self.context.images

    @property
    def now(self) -> datetime:
        """The moment of the call."""
        return self.context.now

    def nodes(self) -> Nodes:
        """The nodes that the Workspace should have."""
        in_use = strings(self.observed.status.get("workerNodes"))
        return plan_nodes(self.workspace, self.observed.machines, self.observed.nodes, in_use)

    def machines(self, nodes: Nodes) -> list[Manifest]:
        """A Machine that exists is declared as it is: its spec is final."""
        return [
            as_last_applied(replica.observed)
            if replica.observed
            else machine_manifest(self.workspace, replica, self.fit.preset.disk)
            for replica in nodes.replicas
        ]

    def has_machines(self) -> bool:
        """Whether nodes are paid for, or about to be."""
        return not all(is_deleting(machine) for machine in self.observed.machines)

    def deployment(self) -> Manifest | None:
        """The Deployment as it is."""
        return self.observed.child("Deployment", self.workspace.name)
