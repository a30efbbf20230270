"""From a virtual machine to a node that pods can use, and back: rows 10 to 14 of docs/machine-states.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import liveness, reasons
from kaito_hooks.machine.actions import Decision, Observed, ReadOperation
from kaito_hooks.machine.conditions import (
    as_reported,
    not_initialized,
    not_ready_now,
    not_registered,
)
from kaito_hooks.machine.errors import NoNode
from kaito_hooks.machine.nodes import EPHEMERAL_TAINTS, GPU, Node
from kaito_hooks.machine.provider import Ours, Unknown
from kaito_hooks.machine.status import answer, seen
from kaito_hooks.machine.timing import (
    LOST_AFTER,
    POLL_SECONDS,
    REGISTRATION_LIMIT,
    SLOW_POLL_SECONDS,
)


def is_usable(observed: Observed) -> bool:
    """Whether one Node is ready for pods."""
    return len(observed.nodes) == 1 and not _lacking(observed, observed.nodes[0])


def reported(observed: Observed, now: datetime) -> Decision | None:
    """Rows 7 to 12, where the provider watches the node: its reasons are the Machine's."""
    pool = observed.pool
    if not isinstance(pool, Ours) or pool.is_deleting or observed.last.is_true(types.INITIALIZED):
        return None
    if all(condition.status == "True" for condition in pool.conditions):
        return None
    node = observed.nodes[0] if len(observed.nodes) == 1 else None
    attempt = replace(observed.last.attempt, retry_after=None)
    status = replace(seen(observed, pool, node), attempt=attempt)
    return answer(observed, now, POLL_SECONDS, as_reported(pool.conditions), status)


def lost(observed: Observed, now: datetime) -> Decision | None:
    """Row 14: it was ready and is not; whoever made the Machine may replace it.

    Not while the provider itself is at work on the pool or the cluster: such a node comes back, and deleting its pool
    has left whole clusters in state Failed (kaito-project/kaito#2075). Nor while someone has stopped the pool.
    """
    if not observed.last.is_true(types.INITIALIZED) or len(observed.nodes) > 1:
        return None
    node = observed.nodes[0] if observed.nodes else None
    cause = _gone(observed, node)
    if cause is None:
        return None
    down_for = _down_for(observed, now)
    work = observed.own_pool.operation or observed.operation
    if work is None and not timedelta(0) < down_for < LOST_AFTER:
        return ReadOperation()
    is_known = not isinstance(work, Unknown)
    if observed.own_pool.stopped:  # By a person, who starts it again.
        conditions = not_ready_now(*cause)
    elif isinstance(work, str) and work:
        conditions = not_ready_now(reasons.NODE_UPDATING, _updating(observed, work))
    elif down_for >= LOST_AFTER and is_known:
        message = f"{cause[1]} It has been so for more than ten minutes: replace the Machine."
        conditions = not_ready_now(reasons.NODE_LOST, message, unhealthy=True)
    else:
        conditions = not_ready_now(*cause, unhealthy=is_known or bool(down_for))
    status = seen(observed, observed.own_pool, node)
    if node is None:
        status = replace(status, node=observed.last.node)
    return answer(observed, now, SLOW_POLL_SECONDS, conditions, status)


def _updating(observed: Observed, state: str) -> str:
    name = observed.profile.name
    return (
        f"{name[:1].upper()}{name[1:]} is at work on the node (state {state}): the pool's only node is taken away "
        "meanwhile and comes back by itself, and so do its pods."
    )


def _down_for(observed: Observed, now: datetime) -> timedelta:
    """Since when the node has been down without the provider being at work on it; nothing at the first sight."""
    last = observed.last
    since = last.since(types.NODE_UNHEALTHY) if last.is_true(types.NODE_UNHEALTHY) else None
    return max(now - since, timedelta(seconds=1)) if since else timedelta(0)


def missing(observed: Observed, now: datetime) -> Decision | None:
    """Row 10: the virtual machine has not joined; after 15 minutes it counts as failed."""
    if observed.nodes:
        return None
    pool = observed.own_pool
    if _never_joins(observed, pool, now):
        return liveness.delete(observed, now, observed.profile.error(NoNode))
    conditions = not_registered(
        reasons.NODE_NOT_FOUND, "The virtual machine was created and has not joined the cluster."
    )
    return answer(observed, now, POLL_SECONDS, conditions, seen(observed, pool))


def registering(observed: Observed, now: datetime) -> Decision | None:
    """Row 11: which Node is the Machine's is not known."""
    if len(observed.nodes) < 2:
        return None
    names = ", ".join(sorted(node.name for node in observed.nodes)[:4])
    conditions = not_registered(
        reasons.MULTIPLE_NODES_FOUND,
        f"More than one Node carries the Machine's label: {names}. "
        f"Scale the {observed.profile.pool} to one.",
    )
    return answer(observed, now, POLL_SECONDS, conditions, seen(observed, observed.own_pool))


def initializing(observed: Observed, now: datetime) -> Decision | None:
    """Row 12: the Node is there, something on it is not."""
    if observed.last.is_true(types.INITIALIZED):
        return None  # From then on `lost` decides: a cordoned node stays a node.
    node = observed.nodes[0]
    lacking = _lacking(observed, node)
    if lacking is None:
        return None
    status = seen(observed, observed.own_pool, node)
    return answer(observed, now, POLL_SECONDS, not_initialized(*lacking), status)


def _lacking(observed: Observed, node: Node) -> tuple[str, str] | None:
    """What keeps a Node that has just joined from being used."""
    if not node.is_ready:
        return reasons.NODE_NOT_READY, "The node has joined and is not ready yet."
    if node.taints & observed.machine.startup_taints:
        return reasons.STARTUP_TAINTS_EXIST, "A startup taint of the Machine is still on the node."
    if node.taints & EPHEMERAL_TAINTS:
        return (
            reasons.KNOWN_EPHEMERAL_TAINTS_EXIST,
            "The node still carries a taint that Kubernetes takes away when it is ready.",
        )
    if observed.machine.wants_gpu and node.gpus < 1:
        return (
            reasons.RESOURCE_NOT_REGISTERED,
            f"The node is ready and offers no {GPU}: its driver or the device plugin is missing.",
        )
    return None


def _gone(observed: Observed, node: Node | None) -> tuple[str, str] | None:
    """What keeps a Node that was used from being used; taints are its administrator's business."""
    pool = observed.pool
    if isinstance(pool, Ours) and pool.stopped:
        return reasons.NODE_NOT_READY, f"The {observed.profile.pool} is stopped: start it again."
    if node is None:
        return reasons.NODE_NOT_READY, "The node was ready and is gone from the cluster."
    if not node.is_ready:
        return reasons.NODE_NOT_READY, "The node was ready and does not report any more."
    if observed.machine.wants_gpu and node.gpus < 1:
        return reasons.RESOURCE_NOT_REGISTERED, f"The node was ready and offers no {GPU} any more."
    return None


def is_overdue(observed: Observed, now: datetime) -> bool:
    """Whether the virtual machine has had its time to join."""
    last = observed.last
    since = last.since(types.LAUNCHED)
    if not last.is_true(types.LAUNCHED) or last.is_true(types.REGISTERED) or since is None:
        return False
    return now - since >= REGISTRATION_LIMIT


def _never_joins(observed: Observed, pool: Ours, now: datetime) -> bool:
    """The pool's own age bounds what an edited status could bring about."""
    if pool.conditions:
        return False  # Whoever watches the node gives it up by itself.
    if pool.operation:
        return False  # The provider is at work on it.
    is_old = pool.created is None or now - pool.created >= REGISTRATION_LIMIT
    return is_old and is_overdue(observed, now)
