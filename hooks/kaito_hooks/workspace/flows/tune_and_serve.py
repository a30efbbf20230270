"""The flow of a tuning Workspace: check, nodes, one Job, then the Deployment with the adapter."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest, get_in, number
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import conflicts, reasons
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Tuning
from kaito_hooks.workspace.children import check, inference, push_again, tuning
from kaito_hooks.workspace.children.jobs import Outcome
from kaito_hooks.workspace.flows import conditions
from kaito_hooks.workspace.flows.nodes import NO_NODES, idle_of, refusal_of
from kaito_hooks.workspace.flows.pushing import with_push
from kaito_hooks.workspace.flows.verification import adapter_verified
from kaito_hooks.workspace.job_kinds import CHECK, PUSH, TUNING, JobKind
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import as_last_applied
from kaito_hooks.workspace.plan import Plan
from kaito_hooks.workspace.progress import progress_of
from kaito_hooks.workspace.request import RequestContext


def tune_and_serve(request: RequestContext, section: Tuning) -> Plan:
    """Raise `InvalidObject` when the references or the configuration can't be used, or the size is too small for a
    training that has not begun.
    """
    return _TuneAndServe(request, section).plan()


class _TuneAndServe:
    """One call: the facts first, then one method for each child and each condition."""

    def __init__(self, request: RequestContext, section: Tuning) -> None:
        self.request, self.section = request, section
        self.observed, self.workspace = request.observed, request.workspace
        modules = request.fit.preset.target_modules
        self.inputs = tuning.inputs(self.workspace, section, self.observed, modules)
        self.progress = progress_of(
            self.observed, self.workspace, section, self.inputs, request.now
        )
        if request.fit.too_small and not self._has_begun():
            raise request.fit.too_small
        self.front = [inference.service(self.workspace)] if section.serve else []
        self.ground = conflicts.survey(
            self.observed, [*self.front, _without_annotations(self.inputs.secret)], self._later()
        )
        self.refused = self._refused()
        self.wants_nodes = self._wants_nodes() and not request.released
        self.nodes = request.nodes() if self.wants_nodes else NO_NODES
        self.served = self._served()

    def plan(self) -> Plan:
        """The children and conditions, in the order of the flow."""
        return Plan(
            nodes=self.nodes,
            children=[
                *self.front,
                self.inputs.secret,
                *self._check_job(),
                *self.request.machines(self.nodes),
                *self._tuning_job(),
                *self._push_job(),
                *([self.served] if self.served else []),
            ],
            conditions=[conditions.with_change(each, self.progress) for each in self._conditions()],
            required=self._required(),
            failed=self.progress.needs_person,
            adapter=self.progress.adapter or self.progress.previous,
            taken=self.ground.taken,
            idle=idle_of(self.request, self.nodes),
            retry=self.progress.retry,
        )

    def _has_begun(self) -> bool:
        """Whether these inputs have a Job or a result, or a node that nothing else was made for."""
        progress = self.progress
        is_first = progress.previous is None and progress.job.state == "absent"
        return progress.has_begun or (is_first and self.request.has_machines())

    def _conditions(self) -> list[Condition]:
        return [
            conditions.inputs_checked(
                self.observed, self.progress.check, self.progress.checked, self.ground.pending
            ),
            *self._node_conditions(),
            *with_push(
                self.observed, self.progress, conditions.tuning(self.observed, self.progress)
            ),
            self._inference_condition(),
            *adapter_verified(self.observed, self.progress, self.served),
        ]

    def _later(self) -> list[conflicts.Named]:
        """The names that this generation still needs."""
        name = self.workspace.name
        jobs = [("Job", kind.name(name)) for kind in (CHECK, TUNING)]
        served = [("Deployment", name)] if self.section.serve else []
        if self.progress.is_pushed_again:
            return [("Job", PUSH.name(name)), *served]
        return served if self.progress.adapter else [*jobs, *served]

    def _refused(self) -> str:
        """Why the namespace would refuse the pod that a node would be paid for."""
        progress = self.progress
        if progress.adapter:
            adapter = progress.adapter
            return refusal_of(self.request, lambda nodes: self._deployment(adapter, nodes))
        return refusal_of(self.request, self._job) if progress.job_wanted else ""

    def _wants_nodes(self) -> bool:
        """Whether a GPU has work: training, a model to serve, or a check that runs again while nodes are there."""
        progress, has_machines = self.progress, self.request.has_machines()
        if not (has_machines or (self.ground.is_firm and not self.refused)):
            return False
        serves = self.section.serve and bool(progress.adapter or progress.previous)
        rechecks = has_machines and progress.adapter is None and not progress.failed
        return serves or progress.job_wanted or rechecks

    def _check_job(self) -> list[Manifest]:
        """Kept as it is once it exists; replaced in two steps when the inputs change."""
        is_due = self.progress.check.state == "absent" and not self.progress.checked
        if is_due and self.ground.is_firm:
            return [self._check()]
        if self._is_due_again(self.progress.check) and not self.progress.checked:
            return []
        return self._kept_job(CHECK, self.progress.check)

    def _is_due_again(self, seen: Outcome) -> bool:
        return seen.again_at is not None and self.request.now >= seen.again_at

    def _push_job(self) -> list[Manifest]:
        """Kept until the status has told where the adapter lies now."""
        push, adapter = self.progress.push, self.progress.adapter
        if push is None or adapter is None or self._is_due_again(push):
            return []
        if push.state == "absent" and self.ground.taken is None:
            images = self.request.images
            made = push_again.push_job(self.workspace, self.section, adapter, images)
            return [self.inputs.mark(made, self.workspace.retry)]
        return self._kept_job(PUSH, push)

    def _tuning_job(self) -> list[Manifest]:
        """Begun when the nodes are ready and nothing else holds the GPU; then kept like the check."""
        is_due = self.progress.job.state == "absent" and self.progress.job_wanted
        may_begin = self.wants_nodes and self.nodes.ready and self.ground.is_firm
        if is_due and may_begin and not self._serves_now():
            return [self._job(self.nodes)]
        if self.request.released and self.progress.job.state == "pending":
            return []  # its pod would wait for a node that does not come
        return self._kept_job(TUNING, self.progress.job)

    def _job(self, nodes: Nodes) -> Manifest:
        made = tuning.tuning_job(self.request, nodes, self.inputs)
        return self.inputs.mark(made, self.workspace.retry)

    def _check(self) -> Manifest:
        images = self.request.images
        made = check.check_job(self.workspace, self.section, self.inputs.hash, images)
        return self.inputs.mark(made, self.workspace.retry)

    def _kept_job(self, kind: JobKind, seen: Outcome) -> list[Manifest]:
        """A Job of the wanted inputs stays, also when it has ended: it holds the result."""
        existing = self.observed.child("Job", kind.name(self.workspace.name))
        return (
            [as_last_applied(existing)]
            if existing and seen.state not in ("absent", "stale", "leaving")
            else []
        )

    def _serves_now(self) -> bool:
        existing = self.request.deployment()
        return any(number(get_in(existing, part, "replicas")) > 0 for part in ("spec", "status"))

    def _served(self) -> Manifest | None:
        """The Deployment of the new adapter, else of the previous one, at rest while the GPU trains."""
        existing, progress = self.request.deployment(), self.progress
        adapter = progress.adapter or progress.previous
        if not self.section.serve or adapter is None:
            return None
        if existing and self.request.released:
            return inference.with_replicas(as_last_applied(existing), 0)
        if progress.previous and existing and not progress.adapter:
            kept = inference.with_access(as_last_applied(existing), self.workspace.access)
            return inference.with_replicas(kept, 0 if progress.job_wanted else self.workspace.count)
        can_begin = self.wants_nodes and self.nodes.ready and not progress.job_wanted
        if existing is None and not can_begin:
            return None
        return self._deployment(adapter, self.nodes)

    def _deployment(self, adapter: Adapter, nodes: Nodes) -> Manifest:
        return inference.tuned_deployment(self.request, nodes, adapter, self.inputs.config)

    def _node_conditions(self) -> list[Condition]:
        none = conditions.NoNodes(
            refused=self.refused,
            waits_for=self.ground.pending if self.progress.checked else None,
            released=self.progress.failed or self.progress.adapter is not None,
        )
        return conditions.nodes(
            self.observed, self.nodes, self.request.fit, None if self.wants_nodes else none
        )

    def _inference_condition(self) -> Condition:
        type_ = types.INFERENCE_READY
        if not self.section.serve:
            message = "`tuning.serve` is false"
            return Condition(type_, "False", reasons.SERVING_NOT_REQUESTED, message)
        if self.progress.previous and self.progress.job_wanted:
            message = "The inputs changed: the GPU trains, and the model is served again afterwards"
            return Condition(type_, "False", reasons.RETUNING, message)
        waits = "Waiting for the adapter"
        if self.progress.adapter:
            waits = conditions.waits_for(self.nodes)
        has_service = all(conflicts.stands(self.observed, service) for service in self.front)
        now = self.request.now
        return conditions.inference(self.observed, self.served, waits, has_service, now)

    def _required(self) -> Sequence[str]:
        """The conditions that this generation needs, in the order in which they come true."""
        progress = self.progress
        ends_here = progress.adapter and not self.section.serve
        if ends_here or progress.job.state == "failed" or progress.lost_report:
            return (types.TUNING_SUCCEEDED,)
        serving = (types.INFERENCE_READY,) if self.section.serve else ()
        return (
            types.INPUTS_CHECKED,
            types.MACHINE_READY,
            types.RESOURCE_READY,
            types.JOB_STARTED,
            types.TUNING_SUCCEEDED,
            *serving,
        )


def _without_annotations(child: Manifest) -> Manifest:
    """What pods see of a child: its annotations are ours, and nothing waits for them."""
    metadata = {key: value for key, value in child["metadata"].items() if key != "annotations"}
    return {**child, "metadata": metadata}
