"""The answer to /sync: one Workspace and what was observed, to children and status. Read `sync` like a table of
contents.

Level-based: the answer depends on the whole observation and never on what just happened. A child that must
survive is always in the answer, because an omitted child is a deleted child.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest, get_in, number
from kaito_hooks.metacontroller import SyncResponse
from kaito_hooks.workspace import api, check, inference, reasons, stages, tuning
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import Fit, fit
from kaito_hooks.workspace.jobs import Outcome
from kaito_hooks.workspace.machines import Nodes, machine_manifest, plan_nodes
from kaito_hooks.workspace.observed import Observed, kept, strings
from kaito_hooks.workspace.progress import Progress, progress_of

CREATING_SECONDS = 30
"""A child that was asked for and is not there after this long belongs to somebody else."""


def sync(observed: Observed, context: Context) -> SyncResponse:
    """The children that should exist now, and what to tell the owner."""
    try:
        workspace = api.parse(observed.parent)
        chosen = fit(workspace, context.presets, context.images.compute_capabilities)
        if workspace.tuning:
            prepared = tuning.inputs(
                workspace, workspace.tuning, observed, chosen.preset.target_modules
            )
            return _tune_and_serve(observed, context, workspace, workspace.tuning, chosen, prepared)
        return _serve_preset(observed, context, workspace, chosen)
    except InvalidObject as problem:
        return SyncResponse(
            status=statuses.invalid_status(observed, problem, context.now),
            children=[kept(child) for child in observed.all_children()],
        )


def _serve_preset(
    observed: Observed, context: Context, workspace: api.Workspace, chosen: Fit
) -> SyncResponse:
    nodes = _nodes(observed, workspace)
    deployment = inference.preset_deployment(workspace, chosen, nodes, context.images)
    there = observed.child("Deployment", workspace.name)
    declared = nodes.ready or there is not None
    children = [inference.service(workspace), *_machines(workspace, nodes, chosen)]
    if declared:
        children.append(deployment)
    conditions = [
        *stages.nodes(observed, nodes, wanted=True, presets=context.presets),
        stages.inference(observed, deployment if declared else None, _waits_for_nodes(nodes)),
    ]
    return _answer(
        observed,
        context,
        workspace,
        nodes,
        children,
        conditions,
        required=(statuses.MACHINE_READY, statuses.RESOURCE_READY, statuses.INFERENCE_READY),
    )


def _tune_and_serve(
    observed: Observed,
    context: Context,
    workspace: api.Workspace,
    section: api.Tuning,
    chosen: Fit,
    prepared: tuning.Inputs,
) -> SyncResponse:
    progress = progress_of(observed, workspace, section, prepared)
    wants_nodes = _wants_nodes(observed, section, progress)
    nodes = _nodes(observed, workspace) if wants_nodes else Nodes((), (), (), ())
    served = _served(observed, context, workspace, section, chosen, prepared, progress, nodes)
    children = [
        inference.service(workspace),
        prepared.secret,
        *_machines(workspace, nodes, chosen),
        *_check_job(observed, context, workspace, section, prepared, progress),
        *_tuning_job(observed, context, workspace, section, chosen, prepared, progress, nodes),
        *([served] if served else []),
    ]
    conditions = [
        stages.inputs_checked(observed, progress.check, progress.checked),
        *stages.nodes(
            observed,
            nodes,
            wants_nodes,
            context.presets,
            released=progress.failed or progress.adapter is not None,
        ),
        *stages.tuning(
            observed, progress.job, progress.adapter, progress.lost_report, progress.job_wanted
        ),
        _inference_condition(observed, section, progress, served, nodes),
    ]
    adapter = progress.adapter or progress.previous
    return _answer(
        observed,
        context,
        workspace,
        nodes,
        children,
        conditions,
        required=_required(section, progress),
        failed=progress.failed,
        adapter=adapter,
    )


def _wants_nodes(observed: Observed, section: api.Tuning, progress: Progress) -> bool:
    """Whether a GPU has work: training to do, a model to serve, or a check that runs again while nodes are there."""
    serves = section.serve and (progress.adapter is not None or progress.previous is not None)
    has_machines = any(
        not get_in(machine, "metadata", "deletionTimestamp") for machine in observed.machines
    )
    rechecks = has_machines and progress.adapter is None and not progress.failed
    return serves or progress.job_wanted or rechecks


def _served(
    observed: Observed,
    context: Context,
    workspace: api.Workspace,
    section: api.Tuning,
    chosen: Fit,
    prepared: tuning.Inputs,
    progress: Progress,
    nodes: Nodes,
) -> Manifest | None:
    """The Deployment of the new adapter, else of the previous one, at rest while the GPU trains."""
    if not section.serve:
        return None
    there = observed.child("Deployment", workspace.name)
    if progress.adapter:
        if there is None and not nodes.ready:
            return None
        return inference.tuned_deployment(
            workspace, section, chosen, nodes, context.images, progress.adapter, prepared.config
        )
    if progress.previous is None or there is None:
        return None
    return inference.with_replicas(kept(there), 0 if progress.job_wanted else workspace.count)


def _check_job(
    observed: Observed,
    context: Context,
    workspace: api.Workspace,
    section: api.Tuning,
    prepared: tuning.Inputs,
    progress: Progress,
) -> list[Manifest]:
    """Kept as it is once it exists; replaced in two steps when the inputs change."""
    if progress.check.state == "absent" and not progress.checked:
        return [check.check_job(workspace, section, prepared.hash, context.images)]
    return _kept_job(observed, check.check_name(workspace), progress.check)


def _tuning_job(
    observed: Observed,
    context: Context,
    workspace: api.Workspace,
    section: api.Tuning,
    chosen: Fit,
    prepared: tuning.Inputs,
    progress: Progress,
    nodes: Nodes,
) -> list[Manifest]:
    """Begun when the nodes are ready and nothing else holds the GPU; then kept like the check."""
    begins = progress.job.state == "absent" and progress.job_wanted and nodes.ready
    if begins and not _holds_gpu(observed, workspace):
        return [tuning.tuning_job(workspace, section, prepared.hash, chosen, nodes, context.images)]
    return _kept_job(observed, workspace.name, progress.job)


def _kept_job(observed: Observed, job_name: str, seen: Outcome) -> list[Manifest]:
    """A Job of the wanted inputs stays, also when it has ended: it holds the result."""
    there = observed.child("Job", job_name)
    return [kept(there)] if there and seen.state not in ("absent", "stale", "leaving") else []


def _holds_gpu(observed: Observed, workspace: api.Workspace) -> bool:
    there = observed.child("Deployment", workspace.name)
    return (
        number(get_in(there, "status", "replicas")) > 0
        or number(get_in(there, "spec", "replicas")) > 0
    )


def _inference_condition(
    observed: Observed,
    section: api.Tuning,
    progress: Progress,
    served: Manifest | None,
    nodes: Nodes,
) -> Condition:
    if not section.serve:
        return Condition(
            statuses.INFERENCE_READY,
            "False",
            reasons.SERVING_NOT_REQUESTED,
            "`tuning.serve` is false",
        )
    if progress.previous and progress.job_wanted:
        return Condition(
            statuses.INFERENCE_READY,
            "False",
            reasons.RETUNING,
            "The inputs changed: the GPU trains, and the model is served again afterwards",
        )
    waits = _waits_for_nodes(nodes) if progress.adapter else "Waits for the adapter"
    return stages.inference(observed, served, waits)


def _required(section: api.Tuning, progress: Progress) -> Sequence[str]:
    """The stages that this generation needs, in the order in which they come true."""
    if progress.adapter and not section.serve:
        return (statuses.TUNING_SUCCEEDED,)
    if progress.job.state == "failed" or progress.lost_report:
        return (statuses.TUNING_SUCCEEDED,)
    serving = (statuses.INFERENCE_READY,) if section.serve else ()
    return (
        statuses.INPUTS_CHECKED,
        statuses.MACHINE_READY,
        statuses.RESOURCE_READY,
        statuses.JOB_STARTED,
        statuses.TUNING_SUCCEEDED,
        *serving,
    )


def _nodes(observed: Observed, workspace: api.Workspace) -> Nodes:
    in_use = strings(observed.status.get("workerNodes"))
    return plan_nodes(workspace, observed.machines, observed.nodes, in_use)


def _machines(workspace: api.Workspace, nodes: Nodes, chosen: Fit) -> list[Manifest]:
    """A Machine that exists is declared as it is: its spec is final."""
    return [
        kept(slot.observed)
        if slot.observed
        else machine_manifest(workspace, slot, chosen.preset.disk)
        for slot in nodes.slots
    ]


def _waits_for_nodes(nodes: Nodes) -> str:
    return "" if nodes.ready else "Waits for the nodes"


def _answer(
    observed: Observed,
    context: Context,
    workspace: api.Workspace,
    nodes: Nodes,
    children: Sequence[Manifest],
    conditions: Sequence[Condition],
    required: Sequence[str],
    failed: bool = False,
    adapter: tuning.Adapter | None = None,
) -> SyncResponse:
    conditions = [
        stages.conflict(observed, condition, children, context.now, CREATING_SECONDS)
        for condition in conditions
    ]
    stalled = failed or stages.needs_a_person(observed, conditions, required)
    creating = stages.is_creating(observed, children)
    return SyncResponse(
        status=statuses.status_of(
            observed, conditions, required, stalled, context.now, nodes.names, adapter
        ),
        children=list(children),
        resync_after_seconds=CREATING_SECONDS + 1 if creating else 0,
    )
