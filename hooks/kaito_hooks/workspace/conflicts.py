"""Children that were asked for and never show up.

Metacontroller skips an object of the same name that is not ours in silence, and writes no event: so the hook must
notice, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.labels import COMPONENT
from kaito_hooks.kube.objects import Manifest, get_in, name, text
from kaito_hooks.workspace import check, inference, reasons, tuning
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.observed import Observed

CREATING = timedelta(seconds=30)
"""A child that was asked for and is not there after this long belongs to somebody else."""

_BEHIND = {
    statuses.INPUTS_CHECKED: ("Job", check.COMPONENT),
    statuses.JOB_STARTED: ("Job", tuning.COMPONENT),
    statuses.INFERENCE_READY: ("Deployment", inference.COMPONENT),
    statuses.MACHINE_READY: ("Machine", None),
}
"""Kind and component of the child that a stage speaks of."""


def missing(observed: Observed, children: Sequence[Manifest]) -> list[Manifest]:
    """The children that are not there yet, not even on their way out."""
    there = {
        (kind, name(child)) for kind, of_kind in observed.children.items() for child in of_kind
    }
    return [child for child in children if (child["kind"], name(child)) not in there]


def with_conflicts(
    observed: Observed, stages: Sequence[Condition], absent: Sequence[Manifest], now: datetime
) -> list[Condition]:
    """The stages, with ChildConflict where a child has been absent for too long."""
    return (
        [_with_conflict(observed, stage, absent, now) for stage in stages]
        if absent
        else list(stages)
    )


def _with_conflict(
    observed: Observed, stage: Condition, absent: Sequence[Manifest], now: datetime
) -> Condition:
    child = _child_behind(stage.type, absent)
    if child is None or not _is_overdue(stage, statuses.was(observed, stage.type), now):
        return stage
    kind = child["kind"]
    return replace(
        stage,
        status="Unknown",
        reason=reasons.CHILD_CONFLICT,
        message=f"The {kind} '{name(child)}' was asked for and does not show up. If one of that name exists that "
        f"does not belong to this Workspace, rename or delete it: kubectl get {kind.lower()} {name(child)}",
    )


def _child_behind(type_: str, absent: Sequence[Manifest]) -> Manifest | None:
    kind, component = _BEHIND.get(type_, ("", None))
    for child in absent:
        if child["kind"] == kind and component in (
            None,
            get_in(child, "metadata", "labels", COMPONENT),
        ):
            return child
    return None


def _is_overdue(stage: Condition, before: Mapping[str, Any], now: datetime) -> bool:
    told = before.get("reason") == reasons.CHILD_CONFLICT
    return told or (stage.status == "Unknown" and _since(before, now) >= CREATING)


def _since(before: object, now: datetime) -> timedelta:
    """How long a condition has been Unknown."""
    try:
        since = datetime.fromisoformat(text(get_in(before, "lastTransitionTime")))
    except ValueError:
        return timedelta(0)
    is_unknown = get_in(before, "status") == "Unknown" and since.tzinfo
    return now - since if is_unknown else timedelta(0)
