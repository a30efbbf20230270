"""Pods that a workload owns: watching them, making them, ending them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kaito_laptop.core.backoff import Backoff
from kaito_laptop.core.cluster import (
    Cluster,
    ClusterError,
    Event,
    Forbidden,
    Key,
    Manifest,
    NotFound,
    Resource,
)
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.events import Recorder
from kaito_laptop.core.objects import (
    controller_of,
    copy,
    get,
    is_controlled_by,
    is_deleting,
    is_true,
    name,
    namespace,
    owner_reference,
    same,
    uid,
)

FINISHED = ("Succeeded", "Failed")


class Workload:
    """Looks at objects of one kind when they or their pods change."""

    api_version = ""
    kind = ""
    component = ""
    """In whose name events are written."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop
        self._resource: Resource = cluster.resource(self.api_version, self.kind)
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._recorder = Recorder(cluster, event_loop.clock, self.component)
        self._queue: Queue[Key] = Queue(event_loop, self._look_at, self._backoff())
        cluster.watch([self._resource], lambda event: self._queue.add(self._key(event.object)))
        cluster.watch([self._pods], self._pod_changed)

    def reconcile(self, owner: Manifest, pods: Sequence[Manifest]) -> None:
        """Bring the pods and the status of one object closer to its spec."""
        raise NotImplementedError

    def _backoff(self) -> Backoff[Key]:
        """How long to wait after failures."""
        return Backoff(self._event_loop.clock)

    def _look_at(self, key: Key) -> None:
        try:
            owner = self._cluster.get(key)
        except NotFound:
            return
        pods = self._cluster.list(self._pods, key.namespace)
        self.reconcile(owner, [pod for pod in pods if is_controlled_by(pod, owner)])

    def _key(self, owner: Manifest) -> Key:
        return Key(self._resource, name(owner), namespace(owner))

    def _pod_changed(self, event: Event) -> None:
        reference = controller_of(event.object)
        if reference is not None and reference["kind"] == self.kind:
            self._queue.add(Key(self._resource, reference["name"], namespace(event.object)))

    def _create_pod(
        self, owner: Manifest, template: Manifest, labels: dict[str, str], **metadata: Any
    ) -> None:
        """Raise `ClusterError` when the pod is refused, after telling so in an Event about the owner."""
        described = copy(template.get("metadata") or {})
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **described,
                **metadata,
                "namespace": namespace(owner),
                "labels": {**described.get("labels", {}), **labels},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": copy(template["spec"]),
        }
        try:
            self._cluster.create(pod)
        except ClusterError as error:
            with suppress(Forbidden):  # A namespace that ends takes no Events either.
                self._recorder.warning(owner, "FailedCreate", f"Error creating: {error.message}")
            raise

    def _delete_pod(self, pod: Manifest) -> None:
        try:
            self._cluster.delete(Key(self._pods, name(pod), namespace(pod)), uid=uid(pod))
        except ClusterError as error:
            if not isinstance(error, NotFound):
                raise

    def _write_status(self, owner: Manifest, status: Manifest) -> None:
        if not same(owner.get("status"), status):
            self._cluster.update_status({**owner, "status": status})


def is_active(pod: Manifest) -> bool:
    """Whether a pod still counts: neither finished nor being deleted."""
    return not is_deleting(pod) and get(pod, "status", "phase") not in FINISHED


def is_ready(pod: Manifest) -> bool:
    """Whether a pod takes traffic."""
    return is_active(pod) and is_true(pod, "Ready")


def fingerprint(template: Manifest) -> str:
    """Return a label value that changes with the template."""
    text = json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def conditions_with(
    old: Sequence[Manifest], new: Manifest, now: str, updated: bool = False
) -> list[Manifest]:
    """Return the conditions with one set; its transition time moves only with its status."""
    known = next((each for each in old if each["type"] == new["type"]), {})
    moved = known.get("status") != new["status"]
    times = {"lastTransitionTime": now if moved else known["lastTransitionTime"]}
    if updated:
        changed = moved or any(known.get(field) != value for field, value in new.items())
        times["lastUpdateTime"] = now if changed else known["lastUpdateTime"]
    return [*(each for each in old if each["type"] != new["type"]), {**new, **times}]
