"""The conditions of a Workspace from the same facts as its children, and the one line that people read.

Kaito's names stay (MachineReady, ResourceReady, JobStarted, InferenceReady, WorkspaceReady,
WorkspaceSucceeded); ours are InputsChecked, TuningSucceeded, and kstatus' Ready, Reconciling, Stalled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.conditions import Condition, find, kstatus, stamp
from kaito_hooks.kube.objects import Manifest, generation, get_in, name, namespace, text
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.children.tuning import Adapter, recorded
from kaito_hooks.workspace.observed import Observed, strings

INPUTS_CHECKED = "InputsChecked"
MACHINE_READY = "MachineReady"
RESOURCE_READY = "ResourceReady"
JOB_STARTED = "JobStarted"
TUNING_SUCCEEDED = "TuningSucceeded"
INFERENCE_READY = "InferenceReady"
WORKSPACE_READY = "WorkspaceReady"
WORKSPACE_SUCCEEDED = "WorkspaceSucceeded"
READY = "Ready"

TYPES = (
    INPUTS_CHECKED,
    MACHINE_READY,
    RESOURCE_READY,
    JOB_STARTED,
    TUNING_SUCCEEDED,
    INFERENCE_READY,
    WORKSPACE_READY,
    WORKSPACE_SUCCEEDED,
    READY,
    "Reconciling",
    "Stalled",
)


def status_of(
    observed: Observed,
    stages: Sequence[Condition],
    required: Sequence[str],
    stalled: bool,
    now: datetime,
    worker_nodes: Sequence[str],
    adapter: Adapter | None,
) -> Manifest:
    """The whole status: `Ready` takes the reason and message of the first required stage that is not True."""
    by_type = {stage.type: stage for stage in stages}
    missing = next((by_type[type_] for type_ in required if by_type[type_].status != "True"), None)
    ready = (
        Condition(READY, "False", missing.reason, missing.message)
        if missing
        else Condition(READY, "True", reasons.READY, _all_there(observed, required))
    )
    status = _base(observed, [*stages, *_summary(ready, stalled)], now, worker_nodes, adapter)
    if by_type.get(INFERENCE_READY) and by_type[INFERENCE_READY].status == "True":
        parent = observed.parent
        status["endpoint"] = f"http://{name(parent)}.{namespace(parent)}.svc/chat"
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
        and (item := was(observed, type_)).get("status") in ("True", "False", "Unknown")
        and text(item.get("reason"))
    ]
    if not any(item.type == RESOURCE_READY for item in before):
        before.append(Condition(RESOURCE_READY, "False", problem.reason, "No node is asked for"))
    worker_nodes = strings(observed.status.get("workerNodes"))
    return _base(
        observed, [*before, *_summary(ready, stalled)], now, worker_nodes, recorded(observed)
    )


def deleting_status(observed: Observed, message: str, now: datetime) -> Manifest:
    """While the children go, in order."""
    ready = Condition(READY, "False", reasons.DELETING, message)
    return _base(observed, _summary(ready, False), now, (), recorded(observed))


def was(observed: Observed, type_: str) -> Mapping[str, Any]:
    """The condition as it was written last, empty when it was not."""
    return find(observed.status.get("conditions"), type_)


def _summary(ready: Condition, stalled: bool) -> list[Condition]:
    return [
        *kstatus(ready, stalled),
        Condition(WORKSPACE_READY, ready.status, ready.reason, ready.message),
        Condition(WORKSPACE_SUCCEEDED, ready.status, ready.reason, ready.message),
    ]


def _base(
    observed: Observed,
    conditions: Sequence[Condition],
    now: datetime,
    worker_nodes: Sequence[str],
    adapter: Adapter | None,
) -> Manifest:
    status: Manifest = {
        "conditions": stamp(
            conditions, observed.status.get("conditions"), now, generation(observed.parent)
        )
    }
    if worker_nodes:
        status["workerNodes"] = sorted(set(worker_nodes))
    if adapter:
        status["tuning"] = {
            "hash": adapter.hash,
            "image": adapter.image,
            "digest": adapter.digest,
            **adapter.report,
        }
    return status


def _all_there(observed: Observed, required: Sequence[str]) -> str:
    if INFERENCE_READY in required:
        tuned = "the tuned model" if get_in(observed.parent, "tuning") else "the model"
        return f"/chat of Service {name(observed.parent)} answers with {tuned}"
    return "The adapter is pushed; no node is held"
