"""Serving pods that wait for the Secret of their API keys.

A pod whose volume is not mounted is ContainerCreating, like any that starts; why it waits, the kubelet says in
Events alone, which no hook sees. So it is told by the time that has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kaito_hooks.api import commands, labels, pods
from kaito_hooks.kube.conditions import find, is_true
from kaito_hooks.kube.objects import Manifest, get_in, is_deleting, name, namespace, sequence, text
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.client_access import KEY, VOLUME
from kaito_hooks.workspace.observed import Observed

MOUNTED = timedelta(seconds=30)
"""A pod whose volumes are not mounted so long after it was bound to its node waits for one that is not there."""
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})


def unmounted_keys(pod: Manifest, now: datetime) -> tuple[str, str] | None:
    """Reason and message of a pod that waits for its API keys; None where it does not, or may still get them."""
    since = _waiting_since(pod)
    if since is None or now - since < MOUNTED:
        return None
    secret, where = _secret_of(pod), ("-n", namespace(pod))
    create = commands.kubectl("create", "secret", "generic", secret, *where, f"--from-file={KEY}")
    describe = commands.kubectl("describe", "pod", name(pod), *where)
    return (
        reasons.API_KEYS_NOT_MOUNTED,
        f"The pod waits for its volumes. The Secret '{secret}' (`{labels.API_KEYS}`) must be there, and its key "
        f"`{KEY}` must hold one API key a line. To make it of a file `{KEY}`: {create}. If it is there, the pod's "
        f"Events say what is missing: {describe}",
    )


def told_at(observed: Observed) -> datetime | None:
    """When a pod that may still get its API keys will have waited for too long; None where none does."""
    waiting = filter(None, map(_waiting_since, observed.pods(labels.INFERENCE)))
    return min((since + MOUNTED for since in waiting), default=None)


def _waiting_since(pod: Manifest) -> datetime | None:
    """Since when a pod with API keys has had its node and has not been able to start."""
    conditions = get_in(pod, "status", "conditions")
    scheduled = find(conditions, "PodScheduled")
    if (
        is_deleting(pod)
        or not _secret_of(pod)
        or scheduled.get("status") != "True"
        or is_true(conditions, "PodReadyToStartContainers")
        or any(map(_has_begun, pods.container_statuses(pod)))
    ):
        return None
    return parse_timestamp(scheduled.get("lastTransitionTime"))


def _has_begun(status: Mapping[str, Any]) -> bool:
    """Whether the container runs, has ended, or waits for something that comes after the volumes."""
    state = get_in(status, "state")
    is_waiting = state is None or isinstance(get_in(state, "waiting"), Mapping)
    return not is_waiting or text(get_in(state, "waiting", "reason")) not in _STARTING


def _secret_of(pod: Manifest) -> str:
    for volume in sequence(get_in(pod, "spec", "volumes")):
        if get_in(volume, "name") == VOLUME:
            return text(get_in(volume, "secret", "secretName"))
    return ""
