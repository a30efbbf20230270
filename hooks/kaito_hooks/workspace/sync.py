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
from kaito_hooks.workspace import api, conflicts, idle, reasons, remedies, unmounted
from kaito_hooks.workspace.conditions import first_missing
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.flows.conditions import needs_a_person
from kaito_hooks.workspace.flows.serve import serve_preset
from kaito_hooks.workspace.flows.tune_and_serve import tune_and_serve
from kaito_hooks.workspace.new_nodes import require_makeable
from kaito_hooks.workspace.observed import Observed, as_last_applied
from kaito_hooks.workspace.plan import Plan
from kaito_hooks.workspace.request import RequestContext
from kaito_hooks.workspace.runtime import served_by
from kaito_hooks.workspace.status import invalid_status, status_of


def sync(observed: Observed, context: Context) -> SyncResponse:
    """The children that should exist now, and what to tell the owner."""
    try:
        request = _request(observed, context)
        plan = _with_release(request, _plan(request))
        require_makeable(request, plan)
    except InvalidObject as problem:
        return _stalled(observed, context, problem)
    return _answer(observed, context, plan)


def _request(observed: Observed, context: Context) -> RequestContext:
    """Raise `InvalidObject` for a Workspace that can't be."""
    workspace = api.parse(observed.parent)
    size = context.presets.api_name(workspace.instance_type)
    workspace = replace(workspace, instance_type=size)
    found, vllm = served_by(workspace, context)
    released = idle.released_before(observed, workspace.retry)
    return RequestContext(observed, context, workspace, found, vllm, released)


def _plan(request: RequestContext) -> Plan:
    section = request.workspace.tuning
    return tune_and_serve(request, section) if section else serve_preset(request)


def _with_release(request: RequestContext, plan: Plan) -> Plan:
    """With the nodes given back when their time is up.

    They go once this is read back from the status. Were they dropped now, a call that does not see the status
    yet would buy another one.
    """
    missing = first_missing(plan.conditions, plan.required)
    if not idle.ends_now(plan.idle, missing, request.now):
        return plan
    released = idle.release(request.observed, request.workspace.retry, request.now)
    return replace(plan, idle=replace(plan.idle, released=released))


def _answer(observed: Observed, context: Context, plan: Plan) -> SyncResponse:
    absent = conflicts.missing(observed, plan.children)
    conditions = conflicts.with_conflicts(observed, plan, absent, context.now)
    missing = first_missing(conditions, plan.required)
    conditions = idle.with_idle(observed, conditions, missing, plan.idle, remedies.retry(observed))
    plan = replace(plan, conditions=conditions)
    stalled = plan.failed or needs_a_person(observed, conditions, plan.required)
    status = status_of(observed, plan, stalled, context.now)
    missing = first_missing(conditions, plan.required)
    look_again = _look_again(observed, plan, absent, missing, context.now)
    return SyncResponse(status, plan.children, look_again)


def _look_again(
    observed: Observed,
    plan: Plan,
    absent: Sequence[Manifest],
    missing: Condition | None,
    now: datetime,
) -> float:
    """In how many seconds something may have to be said or done that no event tells of; 0 for never."""
    moments = [conflicts.CREATING.total_seconds() + 1] if absent else []
    deadline = plan.idle.deadline if missing and missing.reason in reasons.IDLE_CAUSES else None
    moments += [
        (moment - now).total_seconds() + 1
        for moment in (deadline, unmounted.told_at(observed))
        if moment and moment > now
    ]
    return min(moments, default=0)


def _stalled(observed: Observed, context: Context, problem: InvalidObject) -> SyncResponse:
    """Nothing is asked for, and nothing that exists is touched."""
    return SyncResponse(
        status=invalid_status(
            observed, problem, context.now, stalled=problem.reason not in reasons.AWAITED
        ),
        children=[as_last_applied(child) for child in observed.all_children()],
    )
