"""Nodes that are paid for and serve nobody: reported, and given back after a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from kaito_hooks.api import labels, machines, pods
from kaito_hooks.kube.conditions import Condition, Status, find, timestamp
from kaito_hooks.kube.objects import (
    Manifest,
    generation,
    get_in,
    is_deleting,
    mapping,
    number,
    sequence,
    text,
)
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.conditions import previous_condition
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import Observed

CRASH_LOOP = 3
"""Restarts after which a container that ends again and again no longer counts as just begun."""
_SERVES_NOBODY = " The node is paid for and serves nobody"
_OF_NODES = (types.MACHINE_READY, types.RESOURCE_READY)


@dataclass(frozen=True, slots=True)
class Idle:
    """Whether the nodes of a Workspace serve nobody, and what becomes of them."""

    since: datetime | None = None
    """None while something runs on them, or none is paid for."""
    limit: timedelta | None = None
    """After so long they are given back; None: never."""
    released: Mapping[str, Any] | None = None
    """What the status says of nodes that were given back."""

    @property
    def deadline(self) -> datetime | None:
        """When they are given back; None: never."""
        return self.since + self.limit if self.since and self.limit else None

    def is_over(self, now: datetime) -> bool:
        """Whether they go now."""
        return self.deadline is not None and self.deadline <= now


def released_before(observed: Observed, retry: str) -> Mapping[str, Any] | None:
    """What the status says of nodes given back for this generation and this value of `kaito.sh/retry`.

    Taking the annotation away asks for nothing: Flux does so with whatever is not in its repository.
    """
    released = mapping(observed.status.get("nodesReleased"))
    is_new_retry = bool(retry) and released.get("retry") != retry
    same = released.get("generation") == generation(observed.parent) and not is_new_retry
    return released if released and same else None


def release(observed: Observed, retry: str, now: datetime) -> Mapping[str, Any]:
    """What the status says from now on."""
    return {"generation": generation(observed.parent), "retry": retry, "time": timestamp(now)}


def ends_now(idle: Idle, missing: Condition | None, now: datetime) -> bool:
    """Whether the nodes are given back: time is up, and there is a cause that more time does not cure."""
    return missing is not None and missing.reason in reasons.IDLE_CAUSES and idle.is_over(now)


def look(observed: Observed, nodes: Nodes, limit: timedelta | None, now: datetime) -> Idle:
    """Since when nodes that were made for this Workspace have had nothing of it running on them.

    A status that does not say since when a condition is missing begins now.
    """
    paid = [
        since for replica in nodes.replicas if (since := _registered(replica.observed)) is not None
    ]
    used = [*observed.pods(labels.TUNING), *observed.pods(labels.INFERENCE)]
    if not paid or any(map(_works, used)):
        return Idle()
    moments = [
        *paid,
        *(_changed(observed, type_, now) for type_ in _beginnings(observed)),
        *(moment for pod in used for moment in _first_ends(pod)),
    ]
    return Idle(max(moment for moment in moments if moment is not None), limit)


def with_idle(
    observed: Observed,
    conditions: Sequence[Condition],
    missing: Condition | None,
    idle: Idle,
    retry_command: str,
) -> list[Condition]:
    """With what is said of nodes that serve nobody or were given back; `missing` is what `Ready` says."""
    if missing is None:
        return list(conditions)
    if idle.released:
        return [_after_release(observed, each, missing, retry_command) for each in conditions]
    if idle.since is None or missing.reason not in reasons.IDLE_CAUSES:
        return list(conditions)
    addition = _SERVES_NOBODY
    if idle.deadline:
        addition += f"; unless that changes, it is given back at {timestamp(idle.deadline)}"
    changed = replace(missing, message=f"{missing.message.rstrip('. ')}.{addition}.")
    return [changed if each is missing else each for each in conditions]


def _after_release(
    observed: Observed, condition: Condition, missing: Condition, retry_command: str
) -> Condition:
    """The conditions of the nodes say why they went; the others keep what was said before they did."""
    before = previous_condition(observed, condition.type)
    if condition.type in _OF_NODES:
        if before.get("reason") == reasons.IDLE_NODES_RELEASED:
            return Condition(
                condition.type, "False", reasons.IDLE_NODES_RELEASED, text(before.get("message"))
            )
        cause = text(previous_condition(observed, types.READY).get("message")) or missing.message
        cause = cause.partition(_SERVES_NOBODY)[0].rstrip(". ")
        message = (
            f"Nothing of this Workspace ran on its node for too long, so the node was given back. {cause}. "
            f"After fixing that: {retry_command}"
        )
        return Condition(condition.type, "False", reasons.IDLE_NODES_RELEASED, message)
    is_kept = text(before.get("reason")) and before.get("status") != "True"
    if condition.status == "True" or not is_kept:
        return condition
    status: Status = "Unknown" if before.get("status") == "Unknown" else "False"
    return Condition(
        condition.type, status, text(before.get("reason")), text(before.get("message"))
    )


def _registered(machine: Manifest | None) -> datetime | None:
    """Since when the Machine has a node."""
    conditions = get_in(machine, "status", "conditions")
    for type_ in (machines.REGISTERED, machines.READY):
        found = find(conditions, type_)
        if found.get("status") == "True":
            return parse_timestamp(found.get("lastTransitionTime"))
    return None


def _changed(observed: Observed, type_: str, now: datetime) -> datetime:
    return parse_timestamp(previous_condition(observed, type_).get("lastTransitionTime")) or now


def _beginnings(observed: Observed) -> tuple[str, ...]:
    """Conditions whose last change began a new use of the nodes."""
    tuned = (types.JOB_STARTED, types.TUNING_SUCCEEDED)
    return (*(tuned if get_in(observed.parent, "tuning") else ()), types.INFERENCE_READY)


def _works(pod: Manifest) -> bool:
    """Whether a container runs, and has not just crashed; one that was Ready before is at work once it is again."""
    return not is_deleting(pod) and any(
        get_in(status, "state", "running") is not None
        and (number(status.get("restartCount")) == 0 or status.get("ready") is True)
        for status in pods.container_statuses(pod)
    )


def _first_ends(pod: Manifest) -> list[datetime | None]:
    """When containers ended that have not ended often: each gets its time again to come up."""
    return [
        parse_timestamp(get_in(status, "lastState", "terminated", "finishedAt"))
        for status in sequence(get_in(pod, "status", "containerStatuses"))
        if 0 < number(get_in(status, "restartCount")) < CRASH_LOOP
    ]
