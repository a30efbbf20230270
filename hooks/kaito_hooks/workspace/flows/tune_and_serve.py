"""The flow of a tuning Workspace: check, nodes, one Job, then the Deployment with the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest, get_in, number
from kaito_hooks.workspace import api, conflicts, reasons
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.children import check, inference, tuning
from kaito_hooks.workspace.children.jobs import Outcome
from kaito_hooks.workspace.flows import stages
from kaito_hooks.workspace.flows.plan import NO_NODES, Plan, Scene
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import kept
from kaito_hooks.workspace.progress import progress_of


def tune_and_serve(scene: Scene, section: api.Tuning) -> Plan:
    """Raise `InvalidObject` when the references or the configuration can't be used."""
    return _TuneAndServe(scene, section).plan()


class _TuneAndServe:
    """One call: the facts first, then one method for each child and each stage."""

    def __init__(self, scene: Scene, section: api.Tuning) -> None:
        self.observed, self.workspace, self.chosen = scene.observed, scene.workspace, scene.chosen
        self.images = scene.context.images
        self.scene, self.section = scene, section
        modules = scene.chosen.preset.target_modules
        self.inputs = tuning.inputs(self.workspace, section, self.observed, modules)
        self.progress = progress_of(
            self.observed, self.workspace, section, self.inputs, scene.context.now
        )
        self.front = [inference.service(self.workspace)] if section.serve else []
        self.ground = conflicts.survey(
            self.observed, [*self.front, self.inputs.secret], self._later()
        )
        self.refused = self._refused()
        self.wants_nodes = self._wants_nodes() and not scene.released
        self.nodes = scene.nodes() if self.wants_nodes else NO_NODES
        self.served = self._served()

    def plan(self) -> Plan:
        """The children and stages, in the order of the flow."""
        return Plan(
            nodes=self.nodes,
            children=[
                *self.front,
                self.inputs.secret,
                *self._check_job(),
                *self.scene.machines(self.nodes),
                *self._tuning_job(),
                *([self.served] if self.served else []),
            ],
            stages=[
                stages.inputs_checked(
                    self.observed, self.progress.check, self.progress.checked, self.ground.pending
                ),
                *self._node_stages(),
                *stages.tuning(self.observed, self.progress),
                self._inference_stage(),
            ],
            required=self._required(),
            failed=self.progress.failed,
            adapter=self.progress.adapter or self.progress.previous,
            taken=self.ground.taken,
            idle=self.scene.idle(self.nodes),
        )

    def _later(self) -> list[conflicts.Named]:
        """The names that this generation still needs."""
        name = self.workspace.name
        jobs = [("Job", check.check_name(self.workspace)), ("Job", name)]
        served = [("Deployment", name)] if self.section.serve else []
        return served if self.progress.adapter else [*jobs, *served]

    def _refused(self) -> str:
        """Why the namespace would refuse the pod that a node would be paid for."""
        progress = self.progress
        if progress.adapter:
            return self.scene.refused(partial(self._deployment, progress.adapter))
        return self.scene.refused(self._job) if progress.job_wanted else ""

    def _wants_nodes(self) -> bool:
        """Whether a GPU has work: training, a model to serve, or a check that runs again while nodes are there."""
        progress, has_machines = self.progress, self.scene.has_machines()
        if not (has_machines or (self.ground.is_firm and not self.refused)):
            return False
        serves = self.section.serve and bool(progress.adapter or progress.previous)
        rechecks = has_machines and progress.adapter is None and not progress.failed
        return serves or progress.job_wanted or rechecks

    def _check_job(self) -> list[Manifest]:
        """Kept as it is once it exists; replaced in two steps when the inputs change."""
        is_due = self.progress.check.state == "absent" and not self.progress.checked
        if is_due and self.ground.is_firm:
            return [check.check_job(self.workspace, self.section, self.inputs.hash, self.images)]
        again_at, now = self.progress.check.again_at, self.scene.context.now
        if again_at is not None and now >= again_at and not self.progress.checked:
            return []
        return self._kept_job(check.check_name(self.workspace), self.progress.check)

    def _tuning_job(self) -> list[Manifest]:
        """Begun when the nodes are ready and nothing else holds the GPU; then kept like the check."""
        is_due = self.progress.job.state == "absent" and self.progress.job_wanted
        may_begin = self.wants_nodes and self.nodes.ready and self.ground.is_firm
        if is_due and may_begin and not self._serves_now():
            return [self._job(self.nodes)]
        if self.scene.released and self.progress.job.state == "pending":
            return []  # its pod would wait for a node that does not come
        return self._kept_job(self.workspace.name, self.progress.job)

    def _job(self, nodes: Nodes) -> Manifest:
        return tuning.tuning_job(
            self.workspace,
            self.section,
            self.inputs.hash,
            self.chosen,
            nodes,
            self.images,
            self.inputs.config,
        )

    def _kept_job(self, job_name: str, seen: Outcome) -> list[Manifest]:
        """A Job of the wanted inputs stays, also when it has ended: it holds the result."""
        there = self.observed.child("Job", job_name)
        return [kept(there)] if there and seen.state not in ("absent", "stale", "leaving") else []

    def _serves_now(self) -> bool:
        there = self.scene.deployment()
        return any(number(get_in(there, part, "replicas")) > 0 for part in ("spec", "status"))

    def _served(self) -> Manifest | None:
        """The Deployment of the new adapter, else of the previous one, at rest while the GPU trains."""
        there, progress = self.scene.deployment(), self.progress
        adapter = progress.adapter or progress.previous
        if not self.section.serve or adapter is None:
            return None
        if there and self.scene.released:
            return inference.with_replicas(kept(there), 0)
        if progress.previous and there and not progress.adapter:
            return inference.with_replicas(
                kept(there), 0 if progress.job_wanted else self.workspace.count
            )
        can_begin = self.wants_nodes and self.nodes.ready and not progress.job_wanted
        if there is None and not can_begin:
            return None
        return self._deployment(adapter, self.nodes)

    def _deployment(self, adapter: tuning.Adapter, nodes: Nodes) -> Manifest:
        return inference.tuned_deployment(
            self.workspace,
            self.section,
            self.chosen,
            nodes,
            self.images,
            adapter,
            self.inputs.config,
        )

    def _node_stages(self) -> list[Condition]:
        released = self.progress.failed or self.progress.adapter is not None
        return stages.nodes(
            self.observed,
            self.nodes,
            self.wants_nodes,
            self.chosen,
            released=released,
            waits_for=self.ground.pending if self.progress.checked else None,
            refused=self.refused,
        )

    def _inference_stage(self) -> Condition:
        if not self.section.serve:
            words = "`tuning.serve` is false"
            return Condition(
                statuses.INFERENCE_READY, "False", reasons.SERVING_NOT_REQUESTED, words
            )
        if self.progress.previous and self.progress.job_wanted:
            words = "The inputs changed: the GPU trains, and the model is served again afterwards"
            return Condition(statuses.INFERENCE_READY, "False", reasons.RETUNING, words)
        waits = stages.waits_for(self.nodes) if self.progress.adapter else "Waits for the adapter"
        has_service = all(conflicts.stands(self.observed, service) for service in self.front)
        return stages.inference(self.observed, self.served, waits, has_service)

    def _required(self) -> Sequence[str]:
        """The stages that this generation needs, in the order in which they come true."""
        progress = self.progress
        ends_here = progress.adapter and not self.section.serve
        if ends_here or progress.job.state == "failed" or progress.lost_report:
            return (statuses.TUNING_SUCCEEDED,)
        serving = (statuses.INFERENCE_READY,) if self.section.serve else ()
        return (
            statuses.INPUTS_CHECKED,
            statuses.MACHINE_READY,
            statuses.RESOURCE_READY,
            statuses.JOB_STARTED,
            statuses.TUNING_SUCCEEDED,
            *serving,
        )
