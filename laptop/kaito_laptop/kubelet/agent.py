"""Watches the pods that are bound to a node and keeps their status."""

from __future__ import annotations

import json
from collections.abc import Callable

from kaito_laptop.controllers.endpoints import PORTS
from kaito_laptop.controllers.owned import FINISHED, conditions_with
from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.events import Recorder
from kaito_laptop.core.objects import get, name, namespace, same, uid
from kaito_laptop.kubelet.containers import HOST, Container
from kaito_laptop.kubelet.pod_lifecycle import PodLifecycle, Runtime


class Kubelet:
    """The kubelet of all nodes: a laptop has one."""

    def __init__(
        self,
        cluster: Cluster,
        event_loop: EventLoop,
        runtime: Runtime,
        address: Callable[[Manifest], str] = lambda _: HOST,
    ) -> None:
        """`address` gives pods theirs: a real API server takes no loopback one into EndpointSlices."""
        self._cluster = cluster
        self._event_loop = event_loop
        self._runtime = runtime
        self._address = address
        self._recorder = Recorder(cluster, event_loop.clock, "kubelet")
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._lifecycles: dict[Key, PodLifecycle] = {}
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        cluster.watch([self._pods], self._pod_changed)
        # Pods wait for what they mount.
        sources = [cluster.resource("v1", kind) for kind in ("Secret", "ConfigMap")]
        cluster.watch(sources, self._source_changed)

    def lifecycle(self, pod: Manifest) -> PodLifecycle | None:
        """Return the lifecycle of a pod, once it is bound."""
        return self._lifecycles.get(self._key(pod))

    def look_at(self, pod: Manifest) -> None:
        """Look at a pod again."""
        self._queue.add(self._key(pod))

    def evict(self, pod: Manifest) -> None:
        """Evict a pod as draining its node does: a disruption, no failure."""
        key = self._key(pod)
        found = self._cluster.get(key)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        status = found["status"]
        now = timestamp(self._event_loop.clock.now())
        conditions = conditions_with(status.get("conditions", []), condition, now)
        self._cluster.update_status({**found, "status": {**status, "conditions": conditions}})
        self._cluster.delete(key, uid=uid(found))

    def close(self) -> None:
        """End everything at once."""
        for lifecycle in self._lifecycles.values():
            lifecycle.kill()
        self._lifecycles.clear()

    def _key(self, pod: Manifest) -> Key:
        return Key(self._pods, name(pod), namespace(pod))

    def _pod_changed(self, event: Event) -> None:
        key = self._key(event.object)
        if event.type == "DELETED":
            lifecycle = self._lifecycles.pop(key, None)
            if lifecycle is not None:
                self._event_loop.post(lifecycle.kill)
        elif get(event.object, "spec", "nodeName"):
            self._queue.add(key)

    def _source_changed(self, event: Event) -> None:
        for key, lifecycle in self._lifecycles.items():
            if lifecycle.problem is not None and key.namespace == namespace(event.object):
                self._queue.add(key)

    def _look_at(self, key: Key) -> None:
        try:
            pod = self._cluster.get(key)
        except NotFound:
            return
        lifecycle = self._lifecycles.get(key)
        if lifecycle is None or lifecycle.uid != uid(pod):
            if get(pod, "status", "phase") in FINISHED:
                return
            again = lambda: self._queue.add(key)  # noqa: E731
            address = self._address(pod)
            lifecycle = PodLifecycle(pod, self._event_loop, self._runtime, again, address)
            self._lifecycles[key] = lifecycle
        known = lifecycle.problem
        lifecycle.advance(pod)
        if lifecycle.problem and lifecycle.problem != known:
            self._recorder.warning(pod, "FailedMount", lifecycle.problem)
        self._write(pod, lifecycle)
        if lifecycle.has_ended:
            self._cluster.delete(key, uid=uid(pod), grace_period_seconds=0)

    def _write(self, pod: Manifest, lifecycle: PodLifecycle) -> None:
        ports = json.dumps(self._runtime.ports(pod), sort_keys=True)
        if ports != "{}" and get(pod, "metadata", "annotations", PORTS) != ports:
            pod["metadata"].setdefault("annotations", {})[PORTS] = ports
            pod = self._cluster.update(pod)
        before = pod.get("status") or {}
        after = lifecycle.status()
        if same(before, after):
            return
        self._tell(pod, lifecycle.containers)
        self._cluster.update_status({**pod, "status": after})

    def _tell(self, pod: Manifest, containers: list[Container]) -> None:
        """Write the events of containers whose state is news."""
        for each in containers:
            reason = get(each.state, "waiting", "reason")
            if reason in ("ErrImagePull", "CrashLoopBackOff", "ImagePullBackOff"):
                words = {"ErrImagePull": "Failed"}.get(reason, "BackOff")
                self._recorder.warning(pod, words, each.state["waiting"].get("message", ""))
