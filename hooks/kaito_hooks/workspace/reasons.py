"""Every reason that a condition of a Workspace can carry, besides those of the programs of its pods, which
`kaito_contract.reasons` has. The tables of docs/workspace-api.md are made of the records here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Self

from kaito_contract.reasons import Reason as ProgramReason
from kaito_hooks.api import machines
from kaito_hooks.api.reasons import Reason, records_of


class About(Enum):
    """Of what a reason speaks."""

    SPEC = "the Workspace must be changed"
    CHECK = "data and credentials, before any GPU"
    NODES = "nodes"
    TUNING = "tuning and push"
    SERVING = "serving, pods of any kind, and the whole"


class WorkspaceReason(Reason):
    """A reason of a Workspace's conditions."""

    about: About
    is_awaited: bool
    """Whether it ends by itself when somebody applies what is missing, as GitOps does in any order."""
    leaves_idle: bool
    """Whether a node that is paid for may serve nobody because of it."""

    @classmethod
    def of(cls, name: str, about: About, text: str, remedy: str = "-", *flags: str) -> Self:
        """Make the record; the flags are `needs_person`, `is_awaited` and `leaves_idle`."""
        reason = cls(name, text, remedy, needs_person="needs_person" in flags)
        reason.about = about
        reason.is_awaited, reason.leaves_idle = "is_awaited" in flags, "leaves_idle" in flags
        return reason


_reason = WorkspaceReason.of

PRESET_UNKNOWN: Final = _reason(
    "PresetUnknown",
    About.SPEC,
    "no model of that name is known",
    "the message lists the names; the preset is immutable, so create the Workspace again",
)

PRESET_NOT_TUNABLE: Final = _reason(
    "PresetNotTunable",
    About.SPEC,
    "the model can be served, not tuned",
    "take one that the message lists",
)

PRESET_PRIVATE: Final = _reason(
    "PresetPrivate",
    About.SPEC,
    "the licence forbids a public image",
    "`preset.accessMode: private` and `preset.presetOptions.image`",
)

INSTANCE_TYPE_UNKNOWN: Final = _reason(
    "InstanceTypeUnknown",
    About.SPEC,
    "the name is not that of a GPU size",
    "the message names a size that fits; [sizes.md](sizes.md) has all of them",
)

INSTANCE_TYPE_NOT_SUPPORTED: Final = _reason(
    "InstanceTypeNotSupported",
    About.SPEC,
    "the size has AMD GPUs, FPGAs or media accelerators",
    "take the size that the message names",
)

LABEL_RESERVED: Final = _reason(
    "LabelReserved",
    About.SPEC,
    "`resource.labelSelector` asks for a label that the service which makes the nodes sets "
    "itself, such as `accelerator`",
    "create the Workspace with a label of your own; a Ready node of yours that matches is used "
    "all the same",
)

INSTANCE_TYPE_RETIRED: Final = _reason(
    "InstanceTypeRetired",
    About.SPEC,
    "the size is retired, and no node of it is there",
    "create the Workspace with a size that the message names; a matching node of your own, or "
    '`kaito.sh/bypass-resource-checks: "true"` where a cloud still makes them, goes on',
)

INSTANCE_TYPE_TOO_SMALL: Final = _reason(
    "InstanceTypeTooSmall",
    About.SPEC,
    "the GPUs that a pod asks for don't hold the model; the message has what each must hold, term "
    "by term",
    'take the size that the message names, or `qlora`; `kaito.sh/bypass-resource-checks: "true"` '
    "skips the check",
)

COMPUTE_CAPABILITY_TOO_LOW: Final = _reason(
    "ComputeCapabilityTooLow",
    About.SPEC,
    "the GPU is too old for the model or the runtime images",
    "take the size that the message names",
)

COMPUTE_CAPABILITY_TOO_HIGH: Final = _reason(
    "ComputeCapabilityTooHigh",
    About.SPEC,
    "the GPU is newer than the runtime images are built for",
    'take the size that the message names; `kaito.sh/bypass-resource-checks: "true"` skips the '
    "check",
)

COST_TOO_HIGH: Final = _reason(
    "CostTooHigh",
    About.SPEC,
    "the list price of the nodes is above `resource.maxHourlyCost`, or is not known",
    "the message has both figures and names a size below the limit, if there is one",
)

LABEL_SELECTOR_INVALID: Final = _reason(
    "LabelSelectorInvalid",
    About.SPEC,
    "a new node could not be given such labels",
    "use `matchLabels`",
)

INPUT_INVALID: Final = _reason(
    "InputInvalid",
    About.SPEC,
    "`tuning.input` names no data, or a URL that is not valid",
    "the message says which",
)

CONFIG_MAP_MISSING: Final = _reason(
    "ConfigMapMissing",
    About.SPEC,
    "`tuning.config` names a ConfigMap that is not found",
    "`kubectl create configmap NAME -n NAMESPACE --from-file=training_config.yaml`; goes on by "
    "itself",
    "is_awaited",
)

COUNT_NOT_SUPPORTED: Final = _reason(
    "CountNotSupported",
    About.SPEC,
    "tuning runs on one node",
    "`resource.count: 1`",
)

NOT_SUPPORTED_YET: Final = _reason(
    "NotSupportedYet",
    About.SPEC,
    "a field that this version does not act on yet",
    "the message says what to use instead",
)

RUNTIME_NOT_SUPPORTED: Final = _reason(
    "RuntimeNotSupported",
    About.SPEC,
    "`kaito.sh/runtime` names no runtime, or one that can't serve this model, adapter or size",
    "the message says why; `kaito.sh/runtime: transformers` serves all presets",
)

ANNOTATION_INVALID: Final = _reason(
    "AnnotationInvalid",
    About.SPEC,
    "`kaito.sh/api-keys-secret`, `kaito.sh/requests-per-minute` or `kaito.sh/concurrent-requests` has a "
    "value that is not valid, or is on a Workspace whose own image serves the model",
    "the message says what to write",
)

ADAPTERS_INVALID: Final = _reason(
    "AdaptersInvalid",
    About.SPEC,
    "an adapter of `inference.adapters` has no name or image, or one that is not valid",
    "the message says what to write; goes on by itself after the edit",
)

WORKSPACE_INVALID: Final = _reason(
    "WorkspaceInvalid",
    About.SPEC,
    "the sections contradict each other",
    "exactly one of `inference` and `tuning`, with the method `lora` or `qlora`",
)

CHILD_CONFLICT: Final = _reason(
    "ChildConflict",
    About.SPEC,
    "a Service, Secret, Job or Deployment of a name that the Workspace needs exists and is not "
    "ours; no node is asked for",
    "delete it, or create the Workspace under another name; goes on by itself",
    "needs_person",
)

CHECK_PENDING: Final = _reason(
    "CheckPending",
    About.CHECK,
    "the check is about to start",
    "wait; it needs a node without GPU",
)

CHECK_RUNNING: Final = _reason(
    "CheckRunning",
    About.CHECK,
    "data and push are being checked",
    "wait, seconds",
)

CHECK_SUCCEEDED: Final = _reason(
    "CheckSucceeded",
    About.CHECK,
    "both are fine",
)

CHECK_FAILED: Final = _reason(
    "CheckFailed",
    About.CHECK,
    "the check ended without a reason that the hook knows",
    "the message has its last lines",
)

MACHINES_CREATING: Final = _reason(
    "CreateMachinePending",
    About.NODES,
    "Machines are being created",
    "wait",
)

MACHINES_READY: Final = _reason(
    "MachinesReady",
    About.NODES,
    "all Machines are ready",
)

MACHINES_NOT_NEEDED: Final = _reason(
    "MachinesNotNeeded",
    About.NODES,
    "existing nodes are used",
)

MACHINE_NOT_READY: Final = _reason(
    "MachineNotReady",
    About.NODES,
    "the provider has not answered yet",
    "wait",
)

NODE_NOT_READY: Final = _reason(
    "NodeNotReady",
    About.NODES,
    "a node in use is not Ready",
    "after ten minutes a Machine is replaced; repair a node of your own, or delete it: the "
    "message has the command",
)

RESOURCES_READY: Final = _reason(
    "workspaceResourceStatusSuccess",
    About.NODES,
    "all nodes are ready (Kaito's name)",
)

RESOURCES_PENDING: Final = _reason(
    "ResourcesPending",
    About.NODES,
    "no node is asked for before the check has succeeded",
)

IDLE_NODES_RELEASED: Final = _reason(
    "IdleNodesReleased",
    About.NODES,
    "nothing of the Workspace ran on its node for `KAITO_IDLE_NODE_MINUTES` (30), so the node "
    "was given back; the message says why nothing ran",
    "correct the cause, then retry: the message has the command. Any change of the Workspace "
    "asks for a node again, too",
    "needs_person",
)

RESOURCES_RELEASED: Final = _reason(
    "ResourcesReleased",
    About.NODES,
    "the nodes were given back: the adapter is pushed and not served, or something failed",
)

JOB_PENDING: Final = _reason(
    "JobPending",
    About.TUNING,
    "the Job is about to start",
    "wait",
)

JOB_STARTED: Final = _reason(
    "JobStarted",
    About.TUNING,
    "it has started",
)

TUNING_RUNNING: Final = _reason(
    "TuningRunning",
    About.TUNING,
    "weights, data, training or push are under way",
    "wait; `kubectl logs job/NAME -n NAMESPACE -c train -f`",
)

TUNING_SUCCEEDED: Final = _reason(
    "TuningSucceeded",
    About.TUNING,
    "the adapter is pushed; the message has its digest",
)

TUNING_FAILED: Final = _reason(
    "TuningFailed",
    About.TUNING,
    "the tuning ended without a reason that the hook knows",
    "the message has its last lines",
    "leaves_idle",
)

TUNING_DISRUPTED: Final = _reason(
    "TuningDisrupted",
    About.TUNING,
    "the pod was taken away with its node",
    "wait: it is restarted",
)

PUSH_PENDING: Final = _reason(
    "PushPending",
    About.TUNING,
    "`tuning.output.image` changed: the adapter is about to be pushed there as well",
    "wait; it needs a node without GPU",
)

PUSH_RUNNING: Final = _reason(
    "PushRunning",
    About.TUNING,
    "`tuning.output.image` changed: the adapter is being pushed there as well; nothing is tuned again",
    "wait, minutes",
)

PUSH_FAILED: Final = _reason(
    "PushFailed",
    About.TUNING,
    "that push ended without a reason that the hook knows; the adapter is where it was",
    "the message has its last lines",
)

TUNING_TIMED_OUT: Final = _reason(
    "TuningTimedOut",
    About.TUNING,
    "the Job took longer than three days",
    "fewer epochs, less data, a larger size",
)

INFERENCE_PENDING: Final = _reason(
    "InferencePending",
    About.SERVING,
    "waits for the adapter or the nodes",
    "wait",
)

INFERENCE_LOADING: Final = _reason(
    "InferenceLoading",
    About.SERVING,
    "the model is being loaded",
    "wait",
)

INFERENCE_NOT_ANSWERING: Final = _reason(
    "InferenceNotAnswering",
    About.SERVING,
    "the model was served, and its pod no longer answers its readiness probe",
    "wait: after a minute the kubelet starts it again; `kubectl logs deployment/NAME -n "
    "NAMESPACE` says more",
    "leaves_idle",
)

API_KEYS_NOT_MOUNTED: Final = _reason(
    "ApiKeysNotMounted",
    About.SERVING,
    "the pod has not started for half a minute, as a volume is not mounted: most likely the Secret of "
    "`kaito.sh/api-keys-secret` is not found, or has no key `api-keys`",
    "the message has the command; goes on by itself, within two minutes",
    "leaves_idle",
)

INFERENCE_READY: Final = _reason(
    "WorkspaceInferenceStatusSuccess",
    About.SERVING,
    "`/chat` answers (Kaito's name)",
)

ADAPTER_PENDING: Final = _reason(
    "AdapterPending",
    About.SERVING,
    "no pod that serves the adapter of these inputs is Ready",
    "wait; `InferenceReady` says for what",
)

ADAPTER_VERIFIED: Final = _reason(
    "AdapterVerified",
    About.SERVING,
    "the adapter matches its record, and a token was generated with it "
    "([serving.md](serving.md#proof-of-an-adapter))",
)

RETUNING: Final = _reason(
    "Retuning",
    About.SERVING,
    "the inputs changed and the GPU trains",
    "wait",
)

SERVING_NOT_REQUESTED: Final = _reason(
    "ServingNotRequested",
    About.SERVING,
    "`tuning.serve` is false",
)

POD_REFUSED: Final = _reason(
    "PodRefused",
    About.SERVING,
    "the API server does not let a pod be made: a ResourceQuota, a LimitRange, a policy. What a "
    "quota or a LimitRange would refuse is reported before a node is asked for",
    "the message has its words; goes on by itself once there is room",
    "leaves_idle",
)

UNSCHEDULABLE: Final = _reason(
    "Unschedulable",
    About.SERVING,
    "no node takes the pod",
    "the message has the scheduler's words",
    "leaves_idle",
)

IMAGE_PULL_FAILED: Final = _reason(
    "ImagePullFailed",
    About.SERVING,
    "an image of the runtime is not pulled",
    "the message has the kubelet's words",
    "leaves_idle",
)

CONTAINER_CRASHED: Final = _reason(
    "ContainerCrashed",
    About.SERVING,
    "a container is crashing repeatedly",
    "the message has its last words",
    "leaves_idle",
)

READY: Final = _reason(
    "WorkspaceReady",
    About.SERVING,
    "all is there",
)

DELETING: Final = _reason(
    "WorkspaceDeleting",
    About.SERVING,
    "the Workspace is being deleted, its nodes last",
    "wait",
)


OWN: Final = records_of(WorkspaceReason, vars().values())
"""All of them, in the order of the documentation."""

PROGRAM_FAILED: Final = frozenset({*ProgramReason, CHECK_FAILED, TUNING_FAILED, PUSH_FAILED})
"""Why a program of a pod failed; the last three where it gave no reason that this version knows."""
NEEDS_PERSON: Final = frozenset(each for each in (*OWN, *ProgramReason) if each.needs_person)
"""Reasons that trying again does not cure."""
AWAITED: Final = frozenset(
    {*(each for each in OWN if each.is_awaited), ProgramReason.CREDENTIALS_MISSING}
)
"""Reasons that end by themselves when somebody applies what is missing."""
IDLE_CAUSES: Final = frozenset(
    {*(each for each in OWN if each.leaves_idle), *ProgramReason, *machines.UNUSABLE}
)
"""Why a node that is paid for may serve nobody."""
