"""How a program of the runtime ends: one JSON termination message that reaches the hook.

Every expected failure is a `Failure` with a reason of docs/pods.md and a sentence with the remedy.
It is raised where the knowledge is and translated into message and exit code here, once.
"""

import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from kaito_runtime.pod import device, paths

MESSAGE_LIMIT_BYTES = 4000
"""Kubernetes keeps 4,096 bytes of a termination message; the contract stays below that."""

WRONG_COMMAND_LINE = 2
"""The exit code of argparse."""

RETRYABLE = 75
"""The exit code of a failure that may be gone in a while (EX_TEMPFAIL of sysexits.h): the Job makes
another pod after a growing pause, where any other code ends it."""


class Reason(StrEnum):
    """Why a program failed, as the Workspace's condition names it."""

    ADAPTER_INVALID = "AdapterInvalid"
    """An adapter can't be put onto this base model."""
    CONFIG_INVALID = "ConfigInvalid"
    """training_config.yaml, inference_config.yaml or a flag has a value that can't be used."""
    CREDENTIALS_INVALID = "CredentialsInvalid"
    """A docker config file can't be read as one."""
    CREDENTIALS_MISSING = "CredentialsMissing"
    """A docker config file is not there: its Secret is not found, or lacks the key."""
    DATA_COLUMNS_INVALID = "DataColumnsInvalid"
    """The data has no columns to train on, or a row's value has another form."""
    DATA_EMPTY = "DataEmpty"
    """The data has no row."""
    DATA_UNREACHABLE = "DataUnreachable"
    """The data can't be fetched, or its folder does not exist."""
    DATA_UNREADABLE = "DataUnreadable"
    """The data is there, but it is no parquet, JSON lines, JSON or CSV."""
    DEVICE_LOST = "DeviceLost"
    """The GPU, or this process's hold on it, computes no more; a new process may."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The registry sent other bytes than the digest names."""
    DISK_FULL = "DiskFull"
    """The volume of the target folder is full."""
    IMAGE_INVALID = "ImageInvalid"
    """The image's reference or its content can't be used."""
    IMAGE_NOT_FOUND = "ImageNotFound"
    """The registry does not have the image."""
    INTERNAL_ERROR = "InternalError"
    """A fault of the runtime itself; the log has the traceback."""
    LOSS_NOT_FINITE = "LossNotFinite"
    """The loss became infinite or not a number."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The model, or a step of it, does not fit into memory."""
    OUTPUT_IMAGE_INVALID = "OutputImageInvalid"
    """The output image's reference can't be pushed to."""
    OUTPUT_PATH_INVALID = "OutputPathInvalid"
    """The folder to write to can't be written, or holds files of somebody else."""
    PORT_IN_USE = "PortInUse"
    """Another process listens on the port."""
    PULL_DENIED = "PullDenied"
    """The registry refuses the pull with these credentials."""
    PUSH_DENIED = "PushDenied"
    """The registry refuses the push with these credentials."""
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    """The registry does not answer, or answers with server errors only."""
    RESULTS_MISSING = "ResultsMissing"
    """The folder to push does not hold an adapter."""
    TRAINING_FAILED = "TrainingFailed"
    """The training ended before its last step."""
    WEIGHTS_INVALID = "WeightsInvalid"
    """The weights folder holds no model that can be loaded."""
    WEIGHTS_UNREACHABLE = "WeightsUnreachable"
    """The Hugging Face hub does not give the weights."""


class Failure(Exception):
    """An expected failure: a reason of the contract and a sentence with the remedy."""

    def __init__(self, reason: Reason, message: str):
        super().__init__(message)
        self.reason = reason
        self.message = message


class Retryable(Failure):
    """A failure whose cause lies with others and may pass: the program ends with RETRYABLE."""


class Stopped(Exception):
    """Raised in the main thread by SIGTERM, so that `finally` blocks run."""


def run(program: Callable[[], Mapping[str, Any] | None]) -> None:
    """Run a program, write its termination message and exit: 0, 1 on failure, or RETRYABLE."""
    signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        result = program()
    except Failure as failure:
        fail(failure)
    except Stopped:
        fail(Failure(Reason.INTERNAL_ERROR, "the pod was stopped (SIGTERM) before the end"))
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as error:
        if error.code == WRONG_COMMAND_LINE:
            message = "the command line of the pod is wrong; its log has the usage"
            write_termination_message(_fitted(Failure(Reason.CONFIG_INVALID, message)))
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            fail(unexpected(error))
        fail(
            Failure(
                Reason.DISK_FULL,
                f"the disk is full: {error.filename or error.strerror}; "
                "give the volume more space or the pod a node with a larger disk",
            )
        )
    except Exception as error:
        fail(unexpected(error))
    if result is not None:
        write_termination_message(result)
        print(json.dumps(result), flush=True)
    sys.exit(0)


def fail(failure: Failure) -> None:
    """Write the failure's termination message, print it and exit with code 1, or RETRYABLE."""
    message = _fitted(failure)
    write_termination_message(message)
    print(f"{failure.reason}: {message['message']}", file=sys.stderr, flush=True)
    if failure.reason is Reason.DEVICE_LOST:
        # torch's destructors ask the lost device once more at the interpreter's end: they may hang,
        # or abort with another exit code.
        sys.stdout.flush()
        os._exit(1)
    sys.exit(RETRYABLE if isinstance(failure, Retryable) else 1)


def unexpected(error: BaseException) -> Failure:
    """Return the failure for a lost device or a fault of our own; the traceback goes to the log."""
    traceback.print_exception(error)
    if device.is_lost(error):
        return device_lost(device.words(error))
    name = type(error).__name__
    return Failure(
        Reason.INTERNAL_ERROR,
        f"an unexpected {name} ended the program; its log has the details. This is a fault of the "
        "runtime: please report it with that log",
    )


def device_lost(words: str) -> Failure:
    """Return the failure for a device that computes no more; `words` are its own."""
    return Failure(
        Reason.DEVICE_LOST,
        f"the device no longer computes ({words}). A new process usually mends it. If it comes back "
        "on one node only, its GPU is broken: drain and delete that node. If it comes back "
        "everywhere, report it with the log of this container",
    )


def write_termination_message(content: Mapping[str, Any]) -> None:
    """Write one JSON line to the termination log, where there is one."""
    path = paths.in_root(paths.TERMINATION_LOG)
    if paths.root() == Path("/"):
        if not path.exists():  # not in a pod: leave the machine's /dev alone
            return
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        print(f"{path} is not a file; the termination message is not written", file=sys.stderr)
        return
    try:
        path.write_text(json.dumps(content))
    except OSError as error:
        print(f"can't write {path}: {error.strerror}", file=sys.stderr)


def _fitted(failure: Failure) -> dict[str, str]:
    content = {"reason": str(failure.reason), "message": failure.message}
    while len(json.dumps(content).encode()) > MESSAGE_LIMIT_BYTES:
        content["message"] = content["message"][: len(content["message"]) * 9 // 10] + "..."
    return content


def _raise_stopped(signum: int, frame: FrameType | None) -> None:
    raise Stopped
