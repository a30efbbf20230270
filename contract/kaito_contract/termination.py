"""How a program of a pod ends: its exit code, and the JSON message that the kubelet puts into the pod's status."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_contract.reasons import Reason

PATH = "/dev/termination-log"
"""Where the kubelet reads the message, unless a container says otherwise."""

LIMIT_BYTES = 4000
"""Kubernetes keeps 4,096 bytes of a message; the contract stays below that."""

FAILED = 1
WRONG_COMMAND_LINE = 2
"""The exit code of argparse."""
RETRYABLE = 75
"""The exit code of a failure whose cause may pass (EX_TEMPFAIL of sysexits.h): the Job makes another pod
after a growing pause, where any other code ends it."""

_REASON, _MESSAGE = "reason", "message"


@dataclass(frozen=True, slots=True)
class Ending:
    """A termination message as the hook finds it; empty where there is none in this form."""

    reason: str
    """A `Reason`, or the word of a runtime that is newer or older than the hook."""
    message: str
    report: Mapping[str, Any]
    """What a program that succeeded reports: digests, figures."""

    @property
    def known_reason(self) -> Reason | None:
        """The reason's record, None for a word that this version does not have."""
        return next((each for each in Reason if each == self.reason), None)


def success(report: Mapping[str, Any]) -> str:
    """Return the message of a program that did its work."""
    return json.dumps(report)


def failure(reason: Reason, message: str) -> str:
    """Return the message of a program that did not; one that is too long is cut."""
    text = json.dumps({_REASON: reason, _MESSAGE: message})
    while len(text.encode()) > LIMIT_BYTES:
        message = f"{message[: len(message) * 9 // 10]}..."
        text = json.dumps({_REASON: reason, _MESSAGE: message})
    return text


def parse(text: str) -> Ending:
    """Return what a message says; any text is one, as a container of somebody else may leave it."""
    try:
        content = json.loads(text, parse_int=_int)
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # half a surrogate pair is a ValueError too
        content = None
    report = content if isinstance(content, dict) else {}
    reason, message = report.get(_REASON), report.get(_MESSAGE)
    return Ending(
        reason=reason if isinstance(reason, str) else "",
        message=message if isinstance(message, str) else "",
        report=report,
    )


def _int(digits: str) -> int | float:
    """Return a number that every JSON library can write again: most have 64 bits for an int."""
    return int(digits) if -(2**63) <= int(digits) < 2**63 else float(digits)
