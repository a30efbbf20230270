"""How a program of the runtime ends: one JSON termination message that reaches the hook.

Every expected failure is a `Failure` with a reason of docs/pods.md and a sentence with the remedy.
It is raised where the knowledge is and translated into message and exit code here, once.
"""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kaito_contract import termination as contract
from kaito_contract.reasons import Reason
from kaito_runtime.pod import device, logs, paths

log = logging.getLogger(__name__)


class Failure(Exception):
    """An expected failure: a reason of the contract and a sentence with the remedy."""

    def __init__(self, reason: Reason, message: str):
        super().__init__(message)
        self.reason = reason
        self.message = message


class Retryable(Failure):
    """A failure whose cause lies with others and may pass: the Job tries again."""


class Stopped(Exception):
    """Raised in the main thread by SIGTERM, so that `finally` blocks run."""


def run(program: Callable[[], Mapping[str, Any] | None]) -> None:
    """Run a program, write its termination message and exit with its code."""
    logs.start()
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
        if error.code == contract.WRONG_COMMAND_LINE:
            message = "the command line of the pod is wrong; its log has the usage"
            write_message(contract.failure(Reason.CONFIG_INVALID, message))
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
    except Exception as error:  # noqa: BLE001  a fault of the runtime has a reason too
        fail(unexpected(error))
    if result is not None:
        message = contract.success(result)
        write_message(message)
        print(message, flush=True)
    sys.exit(0)


def fail(failure: Failure) -> None:
    """Write the failure's termination message, print it and exit with its code."""
    if failure.reason is not Reason.PEER_LOST or not has_message():  # the peer's own says more
        write_message(contract.failure(failure.reason, failure.message))
    log.error("%s: %s", failure.reason, failure.message)
    if failure.reason in (Reason.DEVICE_LOST, Reason.PEER_LOST):
        # torch's destructors ask the lost device or process once more at the interpreter's end: they may
        # hang, or abort with another exit code.
        sys.stdout.flush()
        os._exit(contract.FAILED)
    sys.exit(contract.RETRYABLE if isinstance(failure, Retryable) else contract.FAILED)


def unexpected(error: BaseException) -> Failure:
    """Return the failure for a lost device or a fault of our own; the traceback goes to the log."""
    log.error("An unexpected error ended the program", exc_info=error)
    if device.is_lost(error):
        return device_lost(device.message(error))
    name = type(error).__name__
    return Failure(
        Reason.INTERNAL_ERROR,
        f"an unexpected {name} ended the program; its log has the details. This is a fault of the "
        "runtime: please report it with that log",
    )


def device_lost(message: str) -> Failure:
    """Return the failure for a device that computes no more; the message is its own."""
    return Failure(
        Reason.DEVICE_LOST,
        f"the device no longer computes ({message}). A new process usually helps. If it comes back "
        "on one node only, its GPU is broken: drain and delete that node. If it comes back "
        "everywhere, report it with the log of this container",
    )


def has_message() -> bool:
    """Whether a process of this container has written its termination message already."""
    path = paths.in_root(contract.PATH)
    return path.is_file() and path.stat().st_size > 0


def write_message(message: str) -> None:
    """Write a termination message to where the kubelet reads it, if the program is in a pod."""
    path = paths.in_root(contract.PATH)
    if paths.root() == Path("/"):
        if not path.exists():  # not in a pod: leave the machine's /dev alone
            return
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        log.warning("%s is not a file; the termination message is not written", path)
        return
    try:
        path.write_text(message)
    except OSError as error:
        log.warning("The termination message is not written to %s: %s", path, error.strerror)


def _raise_stopped(*_: object) -> None:
    raise Stopped
