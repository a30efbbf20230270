"""Conditions as the Kubernetes API conventions want them, and the kstatus summary.

`lastTransitionTime` moves only when `status` does, so an answer that is fed back as the observed status comes
out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kaito_hooks.kube.objects import sequence, text

Status = Literal["True", "False", "Unknown"]

MESSAGE_LIMIT = 2000
"""Characters; the API allows 32,768, people read fewer."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition before its transition time is known."""

    type: str
    status: Status
    reason: str
    message: str = ""


def is_true(observed: object, type_: str) -> bool:
    """Whether the list of conditions holds the type with status True."""
    return text(find(observed, type_).get("status")) == "True"


def find(observed: object, type_: str) -> Mapping[str, Any]:
    """The condition of that type in a list as observed, or an empty one."""
    for item in sequence(observed):
        if isinstance(item, dict) and item.get("type") == type_:
            return item
    return {}


def stamp(
    conditions: Iterable[Condition], observed: object, now: datetime, generation: int
) -> list[dict[str, Any]]:
    """The conditions as JSON, sorted by type, with transition times carried over from `observed`."""
    moment = timestamp(now)
    before = {
        text(item.get("type")): item
        for item in reversed(sequence(observed))
        if isinstance(item, dict)
    }
    return [
        _stamped(condition, before.get(condition.type, {}), moment, generation)
        for condition in sorted(conditions, key=lambda item: item.type)
    ]


def kstatus(ready: Condition, stalled: bool) -> Sequence[Condition]:
    """`Ready` with its abnormal-true companion: `Stalled` when a person is needed, else `Reconciling` until True."""
    if ready.status == "True":
        return (ready,)
    companion = "Stalled" if stalled else "Reconciling"
    return (ready, Condition(companion, "True", ready.reason, ready.message))


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamped(
    condition: Condition, before: Mapping[str, Any], moment: str, generation: int
) -> dict[str, Any]:
    kept = text(before.get("lastTransitionTime"))
    same = before.get("status") == condition.status and kept
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": _cut(condition.message),
        "lastTransitionTime": kept if same else moment,
        "observedGeneration": generation,
    }


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
