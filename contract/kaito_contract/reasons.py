"""Why a program of a pod failed: the word in its termination message and in the Workspace's condition.

One record for each: who raises it imports it from here, the hook judges it by what is written here, and
the tables of docs/pods.md and docs/workspace-api.md are made of it (`make docs`).
"""

from enum import Enum, StrEnum
from typing import Self


class Recovery(Enum):
    """What it takes for the next run not to fail in the same way."""

    RETRY = "time: the Job tries again where the cause may pass"
    RERUN = "another run"
    CHANGE = "a change by a person: no restart helps"


class Reason(StrEnum):
    """Compares, sorts and prints as its name."""

    text: str
    """What it means."""
    remedy: str
    """What to do."""
    recovery: Recovery

    def __new__(cls, name: str, recovery: Recovery, text: str, remedy: str) -> Self:
        """Make the record of one line below."""
        reason = str.__new__(cls, name)
        reason._value_ = name
        reason.recovery, reason.text, reason.remedy = recovery, text, remedy
        return reason

    @property
    def retryable(self) -> bool:
        """Whether the cause may pass; a program that knows it won't ends for good all the same."""
        return self.recovery is Recovery.RETRY

    @property
    def needs_person(self) -> bool:
        """Whether every further run fails until somebody changes something."""
        return self.recovery is Recovery.CHANGE

    ADAPTER_INVALID = (
        "AdapterInvalid",
        Recovery.CHANGE,
        "the adapter is damaged, or was not tuned on this model",
        "tune again",
    )
    CONFIG_INVALID = (
        "ConfigInvalid",
        Recovery.CHANGE,
        "training_config.yaml has a section, key or value that is not valid, or a pod's command line has, or "
        "the Secret of `kaito.sh/api-keys-secret` holds no key",
        "the message names it; goes on by itself after the edit",
    )
    CREDENTIALS_INVALID = (
        "CredentialsInvalid",
        Recovery.RERUN,
        "the Secret holds no docker configuration",
        "`kubectl create secret docker-registry NAME -n NAMESPACE --docker-server=REGISTRY "
        "--docker-username=USER --docker-password=PASSWORD`, then retry",
    )
    CREDENTIALS_MISSING = (
        "CredentialsMissing",
        Recovery.RETRY,
        "the Secret is not found, or has no key `.dockerconfigjson`",
        "the message has the command; goes on by itself, within ten minutes in the first hour, then "
        "every hour",
    )
    DATA_COLUMNS_INVALID = (
        "DataColumnsInvalid",
        Recovery.RERUN,
        "the columns are not those that training needs, or a row's value has another form",
        "the message has both lists; `DatasetConfig` maps names",
    )
    DATA_EMPTY = (
        "DataEmpty",
        Recovery.RERUN,
        "the data has no row",
        "add data, then retry",
    )
    DATA_UNREACHABLE = (
        "DataUnreachable",
        Recovery.RETRY,
        "a URL or image does not answer, or answers with an error",
        "retried where that can help; else correct it, then retry",
    )
    DATA_UNREADABLE = (
        "DataUnreadable",
        Recovery.RERUN,
        "the file is not what its content claims to be",
        "parquet, JSON lines, JSON or CSV; then retry",
    )
    DEVICE_LOST = (
        "DeviceLost",
        Recovery.RERUN,
        "the GPU stopped computing, in the trainer or the model server; the message has its words",
        "the server is restarted by itself, a tuning with `kaito.sh/retry`; if it comes back on one "
        "node only, drain and delete that node",
    )
    DIGEST_MISMATCH = (
        "DigestMismatch",
        Recovery.CHANGE,
        "what arrived is not what was asked for",
        "retry; look for a proxy that changes content",
    )
    DISK_FULL = (
        "DiskFull",
        Recovery.RERUN,
        "the node's disk is full, or the pod wrote more than "
        "[its folders may hold](pods.md#requests-and-limits)",
        "less data, or a size with a larger disk",
    )
    IMAGE_INVALID = (
        "ImageInvalid",
        Recovery.CHANGE,
        "an image's reference is not valid, or the image does not hold what it should",
        "the files must lie below `/data`",
    )
    IMAGE_NOT_FOUND = (
        "ImageNotFound",
        Recovery.RERUN,
        "an image is not found in its registry",
        "correct the reference",
    )
    INTERNAL_ERROR = (
        "InternalError",
        Recovery.RERUN,
        "a fault of the runtime itself, or the pod was stopped before the end",
        "retry; if it comes back, report it with the log of the container",
    )
    LOSS_NOT_FINITE = (
        "LossNotFinite",
        Recovery.RERUN,
        "the loss became NaN or infinite",
        "a lower learning rate; bfloat16 instead of float16",
    )
    OUT_OF_MEMORY = (
        "OutOfMemory",
        Recovery.RERUN,
        "GPU memory, or the container's [limit of memory](pods.md#requests-and-limits), is used up",
        "smaller batches or sequences, `qlora`, less data, or a larger size",
    )
    OUTPUT_IMAGE_INVALID = (
        "OutputImageInvalid",
        Recovery.RERUN,
        "`tuning.output.image` is not a valid image reference to push to",
        "write registry, lower-case repository and tag",
    )
    OUTPUT_PATH_INVALID = (
        "OutputPathInvalid",
        Recovery.RERUN,
        "the folder to write to holds files of somebody else, or is not writable",
        "move the files that the message names, then retry",
    )
    PEER_LOST = (
        "PeerLost",
        Recovery.RERUN,
        "one of the processes that compute a model together ended, or is not reached",
        "they are restarted by themselves; the message names the first that failed, or its log has the reason",
    )
    PORT_IN_USE = (
        "PortInUse",
        Recovery.RERUN,
        "another program has the port",
        "a custom image must leave 5000 free",
    )
    PULL_DENIED = (
        "PullDenied",
        Recovery.RERUN,
        "the registry refuses the pull with this Secret",
        "correct a Secret of `tuning.input.imagePullSecrets`, then retry",
    )
    PUSH_DENIED = (
        "PushDenied",
        Recovery.RERUN,
        "the registry refuses the push",
        "correct the Secret that `imagePushSecret` names, then retry",
    )
    REGISTRY_UNREACHABLE = (
        "RegistryUnreachable",
        Recovery.RETRY,
        "the registry does not answer",
        "wait, or correct the name; retried for about an hour",
    )
    RESULTS_MISSING = (
        "ResultsMissing",
        Recovery.RERUN,
        "the adapter, or the proof of its push, is gone",
        "retry",
    )
    TRAINING_FAILED = (
        "TrainingFailed",
        Recovery.RERUN,
        "the training was stopped before its last step; nothing is saved",
        "retry",
    )
    WEIGHTS_INVALID = (
        "WeightsInvalid",
        Recovery.CHANGE,
        "the base model is not one that the runtime can load",
        "the image of the preset",
    )
    WEIGHTS_UNREACHABLE = (
        "WeightsUnreachable",
        Recovery.RETRY,
        "the base model is not found, or its source does not answer",
        "the message names where from",
    )
