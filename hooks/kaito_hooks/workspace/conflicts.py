"""Children whose name somebody else has, and children that never show up.

Metacontroller skips an object of the same name that is not ours in silence, and writes no event: so the hook must
notice, and say so, before a node is paid for. Services, Jobs and Deployments of our names are related objects, so
that a foreign one is seen as it is; a Secret never is, so a foreign one is noticed by ours never showing up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kaito_hooks.api import commands
from kaito_hooks.api.labels import CHECK, COMPONENT, INFERENCE, PUSH, TUNING
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import Manifest, get_in, name, namespace, text
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.conditions import first_missing, previous_condition
from kaito_hooks.workspace.observed import Observed, holds
from kaito_hooks.workspace.plan import Plan

CREATING = timedelta(seconds=30)
"""A child that was asked for and is not there after this long belongs to somebody else."""

_BEHIND = (
    (types.INPUTS_CHECKED, "Secret", None),
    (types.INPUTS_CHECKED, "Job", CHECK),
    (types.MACHINE_READY, "Machine", None),
    (types.JOB_STARTED, "Job", TUNING),
    (types.TUNING_SUCCEEDED, "Job", PUSH),
    (types.INFERENCE_READY, "Deployment", INFERENCE),
    (types.INFERENCE_READY, "Service", None),
)
"""Condition, and kind and component of a child that it speaks of."""

Named = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Whether what a Workspace begins with stands, and the names of what comes later are free."""

    taken: Manifest | None
    """An object of somebody else that has a name which is needed."""
    pending: Manifest | None
    """The first child that is not there yet, not ours, or not as it was asked for."""

    @property
    def is_firm(self) -> bool:
        """Whether a node may be paid for."""
        return self.taken is None and self.pending is None


def stands(observed: Observed, wanted: Manifest) -> bool:
    """Whether the child is there, ours, and as it was asked for."""
    there = observed.child(wanted["kind"], name(wanted))
    # A key that somebody added to a selector takes pods away.
    selector = get_in(wanted, "spec", "selector")
    return holds(there, wanted) and get_in(there, "spec", "selector") == selector


def survey(observed: Observed, first: Sequence[Manifest], later: Sequence[Named]) -> Ground:
    """Look at the children that must stand before anything else, and at the names of those to come."""
    needed = [*((child["kind"], name(child)) for child in first), *later]
    taken = (observed.foreign(kind, child_name) for kind, child_name in needed)
    pending = (child for child in first if not stands(observed, child))
    return Ground(next(filter(None, taken), None), next(pending, None))


def missing(observed: Observed, children: Sequence[Manifest]) -> list[Manifest]:
    """The children that are not there yet, not even on their way out."""
    there = {
        (kind, name(child)) for kind, of_kind in observed.children.items() for child in of_kind
    }
    return [child for child in children if (child["kind"], name(child)) not in there]


def with_conflicts(
    observed: Observed, plan: Plan, absent: Sequence[Manifest], now: datetime
) -> list[Condition]:
    """The conditions, with ChildConflict where a name is taken or a child has been absent for too long."""
    if plan.taken is not None:
        return _with_taken(observed, plan, plan.taken)
    return [
        _with_absent(observed, each, absent, now) if absent else each for each in plan.conditions
    ]


def _with_taken(observed: Observed, plan: Plan, taken: Manifest) -> list[Condition]:
    """The condition that speaks of the child, and the first one that is missing, which is what `Ready` says."""
    kind = text(taken.get("kind"))
    describe = commands.kubectl(
        "describe", kind.lower(), name(taken), "-n", namespace(observed.parent)
    )
    message = (
        f"The {kind} '{name(taken)}' exists and does not belong to this Workspace, which needs one of that name. "
        f"Delete it, or create this Workspace under another name. To see whose it is: {describe}"
    )
    missing = first_missing(plan.conditions, plan.required)
    spoken_of = {type_ for type_, of_kind, _ in _BEHIND if of_kind == kind and kind != "Job"}
    changed = {*spoken_of, *([missing.type] if missing else [])}
    return [
        replace(each, status="False", reason=reasons.CHILD_CONFLICT, message=message)
        if each.type in changed
        else each
        for each in plan.conditions
    ]


def _with_absent(
    observed: Observed, condition: Condition, absent: Sequence[Manifest], now: datetime
) -> Condition:
    child = _child_behind(condition.type, absent)
    if child is None or not _is_overdue(
        condition, previous_condition(observed, condition.type), now
    ):
        return condition
    return replace(
        condition,
        status="Unknown",
        reason=reasons.CHILD_CONFLICT,
        message=f"The {child['kind']} '{name(child)}' was asked for and does not show up. If one of that name exists "
        f"that does not belong to this Workspace, delete it; to look at it: {_get(observed, child)}",
    )


def _get(observed: Observed, child: Manifest) -> str:
    """Machines are also the kind of others."""
    kind = "machines.kaito.sh" if child["kind"] == "Machine" else child["kind"].lower()
    return commands.kubectl("get", kind, name(child), "-n", namespace(observed.parent))


def _child_behind(type_: str, absent: Sequence[Manifest]) -> Manifest | None:
    for of_type, kind, component in _BEHIND:
        for child in absent:
            fits = component in (None, get_in(child, "metadata", "labels", COMPONENT))
            if of_type == type_ and child["kind"] == kind and fits:
                return child
    # Before the nodes, their condition waits for whatever comes first.
    return absent[0] if type_ == types.MACHINE_READY else None


def _is_overdue(condition: Condition, before: Mapping[str, Any], now: datetime) -> bool:
    is_reported = (
        before.get("reason") == reasons.CHILD_CONFLICT and before.get("status") == "Unknown"
    )
    return condition.status == "Unknown" and (is_reported or _since(before, now) >= CREATING)


def _since(before: object, now: datetime) -> timedelta:
    """How long a condition has been Unknown."""
    since = parse_timestamp(get_in(before, "lastTransitionTime"))
    is_unknown = get_in(before, "status") == "Unknown"
    return now - since if since and is_unknown else timedelta(0)
