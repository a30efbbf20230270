"""The answer to /sync: one Workspace and what was observed, to children and status.

Level-based: the answer depends on the whole observation and never on what just happened. A child that must
survive is always in the answer, because an omitted child is a deleted child.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.metacontroller import SyncResponse
from kaito_hooks.workspace import api, conflicts, idle, reasons, remedies
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import fit
from kaito_hooks.workspace.flows import stages
from kaito_hooks.workspace.flows.plan import Plan, Scene
from kaito_hooks.workspace.flows.serve import serve_preset
from kaito_hooks.workspace.flows.tune_and_serve import tune_and_serve
from kaito_hooks.workspace.new_nodes import require_makeable
from kaito_hooks.workspace.observed import Observed, kept
from kaito_hooks.workspace.status import invalid_status, status_of


def sync(observed: Observed, context: Context) -> SyncResponse:
    """The children that should exist now, and what to tell the owner."""
    try:
        workspace = api.parse(observed.parent)
        azure_name = context.presets.azure_name(workspace.instance_type)
        workspace = replace(workspace, instance_type=azure_name)
        chosen = fit(workspace, context.presets, context.images.compute_capabilities)
        released = idle.released_before(observed, workspace.retry)
        scene = Scene(observed, context, workspace, chosen, released)
        plan = _plan(scene)
        if idle.ends_now(plan.idle, stages.missing(plan.stages, plan.required), context.now):
            # The nodes go once this is read back from the status. Were they dropped now, a call that does not
            # see the status yet would buy another one.
            told = idle.release(observed, workspace.retry, context.now)
            plan = replace(plan, idle=replace(plan.idle, released=told))
        require_makeable(scene, plan)
    except InvalidObject as problem:
        return _stalled(observed, context, problem)
    return _answer(observed, context, plan)


def _plan(scene: Scene) -> Plan:
    section = scene.workspace.tuning
    return tune_and_serve(scene, section) if section else serve_preset(scene)


def _answer(observed: Observed, context: Context, plan: Plan) -> SyncResponse:
    absent = conflicts.missing(observed, plan.children)
    conditions = conflicts.with_conflicts(
        observed, plan.stages, plan.required, plan.taken, absent, context.now
    )
    conditions = idle.with_idle(
        observed,
        conditions,
        stages.missing(conditions, plan.required),
        plan.idle,
        remedies.retry(observed),
    )
    stalled = plan.failed or stages.needs_a_person(observed, conditions, plan.required)
    status = status_of(
        observed, conditions, plan.required, stalled, context.now, plan.nodes.names, plan.adapter
    )
    if plan.idle.released:
        status["nodesReleased"] = dict(plan.idle.released)
    missing = stages.missing(conditions, plan.required)
    return SyncResponse(status, plan.children, _look_again(plan, absent, missing, context.now))


def _look_again(
    plan: Plan, absent: Sequence[Manifest], missing: Condition | None, now: datetime
) -> float:
    """In how many seconds something may have to be said or done that no event tells of; 0 for never."""
    moments = [conflicts.CREATING.total_seconds() + 1] if absent else []
    deadline = plan.idle.deadline if missing and missing.reason in reasons.IDLE_CAUSES else None
    if deadline and deadline > now:
        moments.append((deadline - now).total_seconds() + 1)
    return min(moments, default=0)


def _stalled(observed: Observed, context: Context, problem: InvalidObject) -> SyncResponse:
    """Nothing is asked for, and nothing that exists is touched."""
    return SyncResponse(
        status=invalid_status(
            observed, problem, context.now, stalled=problem.reason not in reasons.AWAITED
        ),
        children=[kept(child) for child in observed.all_children()],
    )
