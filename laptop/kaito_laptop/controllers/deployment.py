"""Deployments, directly over pods: there are no ReplicaSets here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from kaito_laptop.controllers.owned import (
    Workload,
    conditions_with,
    fingerprint,
    is_active,
    is_ready,
)
from kaito_laptop.core.clock import parse_timestamp, timestamp
from kaito_laptop.core.cluster import Cluster, ClusterError, Manifest
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import condition, get, is_deleting, labels, name, uid

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


class DeploymentController(Workload):
    """Rolls pods from one template to the next within maxSurge and maxUnavailable."""

    api_version = "apps/v1"
    kind = "Deployment"
    component = "replicaset-controller"

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._templates: dict[str, str] = {}
        super().__init__(cluster, event_loop)

    def reconcile(self, owner: Manifest, pods: Sequence[Manifest]) -> None:
        """Create and delete pods, write the status."""
        if is_deleting(owner):
            return
        current = fingerprint(owner["spec"]["template"])
        active = [pod for pod in pods if is_active(pod)]
        new = [pod for pod in active if labels(pod).get(HASH_LABEL) == current]
        old = [pod for pod in active if pod not in new]
        if owner["spec"]["strategy"]["type"] == "Recreate":
            gone = len(old) == 0 and not any(is_deleting(pod) for pod in pods)
            refused = self._resize(owner, current, new, owner["spec"]["replicas"] if gone else 0)
            for pod in old:
                self._delete_pod(pod)
        else:
            refused = self._roll(owner, current, new, old)
        self._number(owner, current)
        self._write_status(owner, self._status(owner, new, old, refused))
        if refused is not None:
            raise refused

    def _roll(
        self, owner: Manifest, current: str, new: Sequence[Manifest], old: Sequence[Manifest]
    ) -> ClusterError | None:
        """Return why a pod was refused, if one was."""
        replicas = owner["spec"]["replicas"]
        surge, unavailable = _limits(owner["spec"]["strategy"]["rollingUpdate"], replicas)
        room = replicas + surge - len(new) - len(old)
        wanted = len(new) + max(0, room) if len(new) < replicas else replicas
        refused = self._resize(owner, current, new, min(wanted, replicas))
        # Old pods that serve nobody go first; the others only while enough are ready.
        ready = sum(map(is_ready, new)) + sum(map(is_ready, old))
        spare = ready - (replicas - unavailable)
        for pod in sorted(old, key=is_ready):
            if is_ready(pod):
                if spare <= 0:
                    break
                spare -= 1
            self._delete_pod(pod)
        return refused

    def _resize(
        self, owner: Manifest, current: str, new: Sequence[Manifest], wanted: int
    ) -> ClusterError | None:
        try:
            for _ in range(wanted - len(new)):
                self._create_pod(
                    owner,
                    owner["spec"]["template"],
                    {HASH_LABEL: current},
                    generateName=f"{name(owner)}-{current}-",
                )
        except ClusterError as error:
            return error
        for pod in sorted(new, key=is_ready)[: max(0, len(new) - wanted)]:
            self._delete_pod(pod)
        return None

    def _number(self, owner: Manifest, current: str) -> None:
        """Count the templates in the annotation that `kubectl rollout` reads."""
        if self._templates.get(uid(owner)) != current:
            self._templates[uid(owner)] = current
            annotations = owner["metadata"].setdefault("annotations", {})
            annotations[REVISION] = str(int(annotations.get(REVISION, 0)) + 1)
            owner["metadata"] = self._cluster.update(owner)["metadata"]

    def _status(
        self,
        owner: Manifest,
        new: Sequence[Manifest],
        old: Sequence[Manifest],
        refused: ClusterError | None,
    ) -> Manifest:
        replicas = owner["spec"]["replicas"]
        _, unavailable = _limits(owner["spec"]["strategy"].get("rollingUpdate", {}), replicas)
        pods = [*new, *old]
        ready = sum(map(is_ready, pods))
        counts = {
            "replicas": len(pods),
            "updatedReplicas": len(new),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, max(len(pods), replicas) - ready),
        }
        status: Manifest = {field: number for field, number in counts.items() if number}
        status["observedGeneration"] = owner["metadata"]["generation"]
        status["terminatingReplicas"] = 0
        now = timestamp(self._event_loop.clock.now())
        available = ready >= replicas - unavailable
        conditions = conditions_with(
            get(owner, "status", "conditions", default=[]),
            {
                "type": "Available",
                "status": str(available),
                "reason": f"MinimumReplicas{'Available' if available else 'Unavailable'}",
                "message": f"Deployment {'has' if available else 'does not have'} "
                "minimum availability.",
            },
            now,
            updated=True,
        )
        done = len(new) == replicas == sum(map(is_ready, new)) and not old
        progressing = self._progressing(owner, done, counts)
        conditions = conditions_with(conditions, progressing, now, updated=True)
        status["conditions"] = _with_failure(conditions, refused, now)
        return status

    def _progressing(self, owner: Manifest, done: bool, counts: dict[str, int]) -> Manifest:
        about = f'Deployment "{name(owner)}"'
        if done:
            return {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable",
                "message": f"{about} has successfully progressed.",
            }
        late = {
            "type": "Progressing",
            "status": "False",
            "reason": "ProgressDeadlineExceeded",
            "message": f"{about} has timed out progressing.",
        }
        known = condition(owner, "Progressing")
        before = owner.get("status") or {}
        moved = (
            any(
                counts[field] > before.get(field, 0)
                for field in ("updatedReplicas", "readyReplicas", "availableReplicas")
            )
            or before.get("observedGeneration") != owner["metadata"]["generation"]
        )
        if known is not None and not moved and known["reason"] != "NewReplicaSetAvailable":
            if known["reason"] == "ProgressDeadlineExceeded":
                return late
            since = parse_timestamp(known["lastUpdateTime"]).timestamp()
            left = since + owner["spec"]["progressDeadlineSeconds"]
            left -= self._event_loop.clock.now().timestamp()
            if left <= 0:
                return late
            self._queue.add_after(self._key(owner), left)
            return {field: known[field] for field in ("type", "status", "reason", "message")}
        self._queue.add_after(self._key(owner), owner["spec"]["progressDeadlineSeconds"])
        return {
            "type": "Progressing",
            "status": "True",
            "reason": "ReplicaSetUpdated",
            "message": f"{about} is progressing.",
        }


def _with_failure(
    conditions: Sequence[Manifest], refused: ClusterError | None, now: str
) -> list[Manifest]:
    """ReplicaFailure keeps its first words until no pod is refused any more, as the ReplicaSet's does."""
    others = [each for each in conditions if each["type"] != "ReplicaFailure"]
    if refused is None:
        return others
    if len(others) < len(conditions):
        return list(conditions)
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": refused.message,
    }
    return conditions_with(others, failure, now, updated=True)


def _limits(rolling: Manifest, replicas: int) -> tuple[int, int]:
    """Return how many pods may be too many, and how many may be missing."""
    surge = _share(rolling.get("maxSurge", 0), replicas, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", 0), replicas, math.floor)
    # As resolved by the API server: with both 0 nothing could ever move.
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _share(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    if isinstance(value, int):
        return value
    return rounded(replicas * int(value.removesuffix("%")) / 100)
