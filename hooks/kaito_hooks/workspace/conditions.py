"""The types of a Workspace's conditions, and each as it was written last.

Kaito's names stay (MachineReady, ResourceReady, JobStarted, InferenceReady, WorkspaceReady,
WorkspaceSucceeded); ours are InputsChecked, TuningSucceeded, AdapterVerified, and kstatus' Ready, Reconciling,
Stalled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaito_hooks.kube.conditions import Condition, find
from kaito_hooks.workspace.observed import Observed

INPUTS_CHECKED = "InputsChecked"
MACHINE_READY = "MachineReady"
RESOURCE_READY = "ResourceReady"
JOB_STARTED = "JobStarted"
TUNING_SUCCEEDED = "TuningSucceeded"
INFERENCE_READY = "InferenceReady"
ADAPTER_VERIFIED = "AdapterVerified"
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
    ADAPTER_VERIFIED,
    WORKSPACE_READY,
    WORKSPACE_SUCCEEDED,
    READY,
    "Reconciling",
    "Stalled",
)


def previous_condition(observed: Observed, type_: str) -> Mapping[str, Any]:
    """The condition as it was written last, empty when it was not."""
    return find(observed.status.get("conditions"), type_)


def first_missing(conditions: Sequence[Condition], required: Sequence[str]) -> Condition | None:
    """The first required condition that is not True: what `Ready` says."""
    by_type = {condition.type: condition for condition in conditions}
    return next((by_type[type_] for type_ in required if by_type[type_].status != "True"), None)
