"""Every reason that a condition of a Workspace can carry, besides those of the programs of its pods, which
`kaito_contract.reasons` has. docs/workspace-api.md explains each.
"""

from __future__ import annotations

from typing import Final

from kaito_contract.reasons import Reason
from kaito_hooks.api import machines

# The Workspace itself: its owner must change it.
PRESET_UNKNOWN: Final = "PresetUnknown"
PRESET_NOT_TUNABLE: Final = "PresetNotTunable"
PRESET_PRIVATE: Final = "PresetPrivate"
INSTANCE_TYPE_UNKNOWN: Final = "InstanceTypeUnknown"
INSTANCE_TYPE_NOT_SUPPORTED: Final = "InstanceTypeNotSupported"
INSTANCE_TYPE_RETIRED: Final = "InstanceTypeRetired"
LABEL_RESERVED: Final = "LabelReserved"
INSTANCE_TYPE_TOO_SMALL: Final = "InstanceTypeTooSmall"
COMPUTE_CAPABILITY_TOO_LOW: Final = "ComputeCapabilityTooLow"
COMPUTE_CAPABILITY_TOO_HIGH: Final = "ComputeCapabilityTooHigh"
COST_TOO_HIGH: Final = "CostTooHigh"
LABEL_SELECTOR_INVALID: Final = "LabelSelectorInvalid"
INPUT_INVALID: Final = "InputInvalid"
CONFIG_MAP_MISSING: Final = "ConfigMapMissing"
COUNT_NOT_SUPPORTED: Final = "CountNotSupported"
NOT_SUPPORTED_YET: Final = "NotSupportedYet"
WORKSPACE_INVALID: Final = "WorkspaceInvalid"
CHILD_CONFLICT: Final = "ChildConflict"

# The check: data and credentials, before any GPU.
CHECK_PENDING: Final = "CheckPending"
CHECK_RUNNING: Final = "CheckRunning"
CHECK_SUCCEEDED: Final = "CheckSucceeded"
CHECK_FAILED: Final = "CheckFailed"

# Nodes.
MACHINES_CREATING: Final = "CreateMachinePending"
MACHINES_READY: Final = "MachinesReady"
MACHINES_NOT_NEEDED: Final = "MachinesNotNeeded"
MACHINE_NOT_READY: Final = "MachineNotReady"
NODE_NOT_READY: Final = "NodeNotReady"
RESOURCES_READY: Final = "workspaceResourceStatusSuccess"
RESOURCES_PENDING: Final = "ResourcesPending"
RESOURCES_RELEASED: Final = "ResourcesReleased"
IDLE_NODES_RELEASED: Final = "IdleNodesReleased"

# Tuning and push.
JOB_PENDING: Final = "JobPending"
JOB_STARTED: Final = "JobStarted"
TUNING_RUNNING: Final = "TuningRunning"
TUNING_SUCCEEDED: Final = "TuningSucceeded"
TUNING_FAILED: Final = "TuningFailed"
TUNING_DISRUPTED: Final = "TuningDisrupted"
TUNING_TIMED_OUT: Final = "TuningTimedOut"

# Serving.
INFERENCE_PENDING: Final = "InferencePending"
INFERENCE_LOADING: Final = "InferenceLoading"
INFERENCE_NOT_ANSWERING: Final = "InferenceNotAnswering"
INFERENCE_READY: Final = "WorkspaceInferenceStatusSuccess"
RETUNING: Final = "Retuning"
SERVING_NOT_REQUESTED: Final = "ServingNotRequested"

# Pods of any of them.
POD_REFUSED: Final = "PodRefused"
UNSCHEDULABLE: Final = "Unschedulable"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
CONTAINER_CRASHED: Final = "ContainerCrashed"

# Whole.
READY: Final = "WorkspaceReady"
DELETING: Final = "WorkspaceDeleting"

PROGRAM_FAILED: Final = frozenset({*Reason, CHECK_FAILED, TUNING_FAILED})
"""Why a program of a pod failed; the last two where it gave no reason that this version knows."""

NEEDS_PERSON: Final = frozenset(
    {CHILD_CONFLICT, IDLE_NODES_RELEASED, *(reason for reason in Reason if reason.needs_person)}
)
"""Reasons that trying again does not cure."""

AWAITED: Final = frozenset({CONFIG_MAP_MISSING, Reason.CREDENTIALS_MISSING})
"""Reasons that end by themselves when somebody applies what is missing, as GitOps does in any order."""

IDLE_CAUSES: Final = frozenset(
    {
        *Reason,
        TUNING_FAILED,
        POD_REFUSED,
        UNSCHEDULABLE,
        IMAGE_PULL_FAILED,
        CONTAINER_CRASHED,
        INFERENCE_NOT_ANSWERING,
        *machines.UNUSABLE,
    }
)
"""Why a node that is paid for may serve nobody."""
