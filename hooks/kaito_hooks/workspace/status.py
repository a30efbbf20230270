"""The status of a Workspace from the same facts as its children, and the one line that people read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.conditions import Condition, kstatus, stamp
from kaito_hooks.kube.objects import Manifest, generation, get_in, name, namespace, text
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.adapters import Adapter, last_retry, recorded
from kaito_hooks.workspace.conditions import (
    INFERENCE_READY,
    READY,
    RESOURCE_READY,
    TYPES,
    WORKSPACE_READY,
    WORKSPACE_SUCCEEDED,
    first_missing,
    previous_condition,
)
from kaito_hooks.workspace.observed import Observed, strings
from kaito_hooks.workspace.plan import Plan


def status_of(observed: Observed, plan: Plan, stalled: bool, now: datetime) -> Manifest:
    """The whole status: `Ready` takes the reason and message of the first required condition that is not True."""
    missing = first_missing(plan.conditions, plan.required)
    ready = (
        Condition(READY, "False", missing.reason, missing.message)
        if missing
        else Condition(READY, "True", reasons.READY, _all_there(observed, plan.required))
    )
    status = {
        **_conditions(observed, [*plan.conditions, *_summary(ready, stalled)], now),
        **_facts(plan.nodes.names, plan.adapter, plan.retry),
    }
    if any(each.type == INFERENCE_READY and each.status == "True" for each in plan.conditions):
        parent = observed.parent
        status["endpoint"] = f"http://{name(parent)}.{namespace(parent)}.svc/chat"
    if plan.idle.released:
        status["nodesReleased"] = dict(plan.idle.released)
    return status


def invalid_status(
    observed: Observed, problem: InvalidObject, now: datetime, *, stalled: bool = True
) -> Manifest:
    """The Workspace can't be understood: what was true of its children stays, and the owner is told what to write."""
    ready = Condition(READY, "False", problem.reason, problem.message)
    own = {READY, WORKSPACE_READY, WORKSPACE_SUCCEEDED, "Reconciling", "Stalled"}
    before = [
        Condition(type_, item["status"], text(item.get("reason")), text(item.get("message")))
        for type_ in TYPES
        if type_ not in own
        and (item := previous_condition(observed, type_)).get("status")
        in ("True", "False", "Unknown")
        and text(item.get("reason"))
    ]
    if not any(item.type == RESOURCE_READY for item in before):
        before.append(Condition(RESOURCE_READY, "False", problem.reason, "No node is asked for"))
    worker_nodes = strings(observed.status.get("workerNodes"))
    return {
        **_conditions(observed, [*before, *_summary(ready, stalled)], now),
        **_facts(worker_nodes, recorded(observed), last_retry(observed)),
    }


def deleting_status(observed: Observed, message: str, now: datetime) -> Manifest:
    """While the children go, in order."""
    ready = Condition(READY, "False", reasons.DELETING, message)
    return {
        **_conditions(observed, _summary(ready, False), now),
        **_facts((), recorded(observed), last_retry(observed)),
    }


def _summary(ready: Condition, stalled: bool) -> list[Condition]:
    return [
        *kstatus(ready, stalled),
        Condition(WORKSPACE_READY, ready.status, ready.reason, ready.message),
        Condition(WORKSPACE_SUCCEEDED, ready.status, ready.reason, ready.message),
    ]


def _conditions(observed: Observed, conditions: Sequence[Condition], now: datetime) -> Manifest:
    before = observed.status.get("conditions")
    return {"conditions": stamp(conditions, before, now, generation(observed.parent))}


def _facts(worker_nodes: Sequence[str], adapter: Adapter | None, retry: str) -> Manifest:
    status: Manifest = {}
    if worker_nodes:
        status["workerNodes"] = sorted(set(worker_nodes))
    tuning: Manifest = {"retry": retry} if retry else {}
    if adapter:
        tuning |= {
            "hash": adapter.hash,
            "image": adapter.image,
            "digest": adapter.digest,
            **adapter.report,
        }
    if tuning:
        status["tuning"] = tuning
    return status


def _all_there(observed: Observed, required: Sequence[str]) -> str:
    if INFERENCE_READY in required:
        tuned = "the tuned model" if get_in(observed.parent, "tuning") else "the model"
        return f"/chat of Service {name(observed.parent)} answers with {tuned}"
    return "The adapter is pushed; no node is held"
