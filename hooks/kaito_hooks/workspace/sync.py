"""The answer to /sync: one Workspace and what was observed, to children and status.

Level-based: the answer depends on the whole observation and never on what just happened. A child that must
survive is always in the answer, because an omitted child is a deleted child.
"""

from __future__ import annotations

from kaito_hooks.errors import InvalidObject
from kaito_hooks.metacontroller import SyncResponse
from kaito_hooks.workspace import api, conflicts, reasons, stages
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import fit
from kaito_hooks.workspace.observed import Observed, kept
from kaito_hooks.workspace.plan import Plan, Scene
from kaito_hooks.workspace.serve_preset import serve_preset
from kaito_hooks.workspace.status import invalid_status, status_of
from kaito_hooks.workspace.tune_and_serve import tune_and_serve


def sync(observed: Observed, context: Context) -> SyncResponse:
    """The children that should exist now, and what to tell the owner."""
    try:
        workspace = api.parse(observed.parent)
        chosen = fit(workspace, context.presets, context.images.compute_capabilities)
        scene = Scene(observed, context, workspace, chosen)
        plan = tune_and_serve(scene, workspace.tuning) if workspace.tuning else serve_preset(scene)
    except InvalidObject as problem:
        return _stalled(observed, context, problem)
    return _answer(observed, context, plan)


def _answer(observed: Observed, context: Context, plan: Plan) -> SyncResponse:
    absent = conflicts.missing(observed, plan.children)
    conditions = conflicts.with_conflicts(
        observed, plan.stages, plan.required, plan.taken, absent, context.now
    )
    stalled = plan.failed or stages.needs_a_person(observed, conditions, plan.required)
    status = status_of(
        observed, conditions, plan.required, stalled, context.now, plan.nodes.names, plan.adapter
    )
    soon = conflicts.CREATING.total_seconds() + 1 if absent else 0
    return SyncResponse(status, plan.children, soon)


def _stalled(observed: Observed, context: Context, problem: InvalidObject) -> SyncResponse:
    """Nothing is asked for, and nothing that exists is touched."""
    return SyncResponse(
        status=invalid_status(
            observed, problem, context.now, stalled=problem.reason not in reasons.AWAITED
        ),
        children=[kept(child) for child in observed.all_children()],
    )
