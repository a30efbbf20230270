"""Every reason that a condition of a Workspace can carry, in one list; docs/workspace-api.md explains each."""

from __future__ import annotations

from typing import Final

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
OUTPUT_IMAGE_INVALID: Final = "OutputImageInvalid"
INPUT_INVALID: Final = "InputInvalid"
CONFIG_MAP_MISSING: Final = "ConfigMapMissing"
CONFIG_INVALID: Final = "ConfigInvalid"
COUNT_NOT_SUPPORTED: Final = "CountNotSupported"
NOT_SUPPORTED_YET: Final = "NotSupportedYet"
WORKSPACE_INVALID: Final = "WorkspaceInvalid"
CHILD_CONFLICT: Final = "ChildConflict"

# The check: data and credentials, before any GPU.
CHECK_PENDING: Final = "CheckPending"
CHECK_RUNNING: Final = "CheckRunning"
CHECK_SUCCEEDED: Final = "CheckSucceeded"
CHECK_FAILED: Final = "CheckFailed"
DATA_UNREACHABLE: Final = "DataUnreachable"
DATA_UNREADABLE: Final = "DataUnreadable"
DATA_COLUMNS_INVALID: Final = "DataColumnsInvalid"
DATA_EMPTY: Final = "DataEmpty"
PULL_DENIED: Final = "PullDenied"
PUSH_DENIED: Final = "PushDenied"
REGISTRY_UNREACHABLE: Final = "RegistryUnreachable"
CREDENTIALS_INVALID: Final = "CredentialsInvalid"
CREDENTIALS_MISSING: Final = "CredentialsMissing"

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
WEIGHTS_UNREACHABLE: Final = "WeightsUnreachable"
WEIGHTS_INVALID: Final = "WeightsInvalid"
IMAGE_NOT_FOUND: Final = "ImageNotFound"
IMAGE_INVALID: Final = "ImageInvalid"
DIGEST_MISMATCH: Final = "DigestMismatch"
DEVICE_LOST: Final = "DeviceLost"
DISK_FULL: Final = "DiskFull"
OUT_OF_MEMORY: Final = "OutOfMemory"
LOSS_NOT_FINITE: Final = "LossNotFinite"
RESULTS_MISSING: Final = "ResultsMissing"

# Serving.
INFERENCE_PENDING: Final = "InferencePending"
INFERENCE_LOADING: Final = "InferenceLoading"
INFERENCE_NOT_ANSWERING: Final = "InferenceNotAnswering"
INFERENCE_READY: Final = "WorkspaceInferenceStatusSuccess"
RETUNING: Final = "Retuning"
SERVING_NOT_REQUESTED: Final = "ServingNotRequested"
ADAPTER_INVALID: Final = "AdapterInvalid"
PORT_IN_USE: Final = "PortInUse"

# Pods of any of them.
POD_REFUSED: Final = "PodRefused"
UNSCHEDULABLE: Final = "Unschedulable"
IMAGE_PULL_FAILED: Final = "ImagePullFailed"
CONTAINER_CRASHED: Final = "ContainerCrashed"

# Whole.
READY: Final = "WorkspaceReady"
DELETING: Final = "WorkspaceDeleting"

RUNTIME: Final = frozenset(
    {
        ADAPTER_INVALID,
        CONFIG_INVALID,
        CREDENTIALS_INVALID,
        CREDENTIALS_MISSING,
        DATA_COLUMNS_INVALID,
        DATA_EMPTY,
        DATA_UNREACHABLE,
        DATA_UNREADABLE,
        DEVICE_LOST,
        DIGEST_MISMATCH,
        DISK_FULL,
        IMAGE_INVALID,
        IMAGE_NOT_FOUND,
        LOSS_NOT_FINITE,
        OUT_OF_MEMORY,
        OUTPUT_IMAGE_INVALID,
        PORT_IN_USE,
        PULL_DENIED,
        PUSH_DENIED,
        REGISTRY_UNREACHABLE,
        RESULTS_MISSING,
        TUNING_FAILED,
        WEIGHTS_INVALID,
        WEIGHTS_UNREACHABLE,
    }
)
"""Reasons that a program of the runtime may give in its termination message (docs/pods.md)."""

AWAITED: Final = frozenset({CONFIG_MAP_MISSING, CREDENTIALS_MISSING})
"""Reasons that end by themselves when somebody applies what is missing, as GitOps does in any order."""

IDLE_CAUSES: Final = RUNTIME | {
    POD_REFUSED,
    UNSCHEDULABLE,
    IMAGE_PULL_FAILED,
    CONTAINER_CRASHED,
    INFERENCE_NOT_ANSWERING,
    NODE_NOT_READY,
    "KnownEphemeralTaintsExist",
    "ResourceNotRegistered",
    "StartupTaintsExist",
}
"""Why a node that is paid for may serve nobody; those in quotes are a Machine's own."""
