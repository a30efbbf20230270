"""The scheduler: binds a pod to a node that fits, or says why none does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from kaito_laptop.controllers.owned import FINISHED, conditions_with
from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.events import Recorder
from kaito_laptop.core.objects import (
    get,
    is_deleting,
    is_true,
    labels,
    name,
    namespace,
    requirement_holds,
)
from kaito_laptop.core.quantities import Quantity
from kaito_laptop.store.pod_resources import Amounts, added, amounts, effective

NONE = Quantity.of(0)


class Scheduler:
    """Binds pods one at a time; looks again at pending ones when nodes or pods change."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._event_loop = event_loop
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._nodes: Resource = cluster.resource("v1", "Node")
        self._recorder = Recorder(cluster, event_loop.clock, "default-scheduler")
        self._pending: set[Key] = set()
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        cluster.watch([self._nodes], lambda _: self._again())
        cluster.watch([self._pods], self._pod_changed)

    def _pod_changed(self, event: Event) -> None:
        pod = event.object
        key = Key(self._pods, name(pod), namespace(pod))
        unbound = event.type != "DELETED" and not get(pod, "spec", "nodeName")
        if unbound and not is_deleting(pod):
            if key not in self._pending:
                self._pending.add(key)
                self._queue.add(key)
            return
        self._pending.discard(key)
        if event.type == "DELETED" or get(pod, "status", "phase") in FINISHED:
            self._again()

    def _again(self) -> None:
        self._queue.add_all(sorted(self._pending, key=lambda key: (key.namespace, key.name)))

    def _look_at(self, key: Key) -> None:
        try:
            pod = self._cluster.get(key)
        except NotFound:
            return
        if get(pod, "spec", "nodeName") or is_deleting(pod):
            return
        nodes = self._cluster.list(self._nodes)
        others = self._cluster.list(self._pods)
        verdicts = {name(node): obstacles(pod, node, _used(others, node)) for node in nodes}
        fitting = [node for node in nodes if not verdicts[name(node)]]
        if fitting:
            self._bind(pod, min(fitting, key=lambda node: _preference(node, others)))
        else:
            self._leave_pending(pod, list(verdicts.values()))

    def _bind(self, pod: Manifest, node: Manifest) -> None:
        pod["spec"]["nodeName"] = name(node)
        bound = self._cluster.update(pod)
        condition = {"type": "PodScheduled", "status": "True"}
        self._write_condition(bound, condition)
        place = f"{namespace(pod)}/{name(pod)}"
        words = f"Successfully assigned {place} to {name(node)}"
        self._recorder.normal(bound, "Scheduled", words)

    def _leave_pending(self, pod: Manifest, verdicts: Sequence[Sequence[str]]) -> None:
        counted = Counter(reason for verdict in verdicts for reason in verdict)
        reasons = ", ".join(sorted(f"{number} {reason}" for reason, number in counted.items()))
        message = f"0/{len(verdicts)} nodes are available: {reasons or 'no nodes'}."
        known = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        if self._write_condition(pod, {**known, "message": message}):
            self._recorder.warning(pod, "FailedScheduling", message)

    def _write_condition(self, pod: Manifest, condition: Manifest) -> bool:
        before = get(pod, "status", "conditions", default=[])
        now = timestamp(self._event_loop.clock.now())
        after = conditions_with(before, condition, now)
        if after == before:
            return False
        pod["status"] = {**(pod.get("status") or {}), "conditions": after}
        self._cluster.update_status(pod)
        return True


def obstacles(pod: Manifest, node: Manifest, used: Mapping[str, Quantity]) -> list[str]:
    """Return why a pod does not fit on a node, in the words of `kubectl describe pod`."""
    spec = pod["spec"]
    if not is_true(node, "Ready") or get(node, "spec", "unschedulable"):
        return ["node(s) were unschedulable"]
    taint = _untolerated(spec.get("tolerations", []), get(node, "spec", "taints", default=[]))
    if taint is not None:
        return [f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"]
    if not _affine(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"]
    room = amounts(get(node, "status", "allocatable", default={}))
    return [
        f"Insufficient {resource}"
        for resource, wanted in sorted(requests(pod).items())
        if wanted.value > room.get(resource, NONE).value - used.get(resource, NONE).value
    ]


def requests(pod: Manifest) -> Amounts:
    """Return what a pod needs, its place among the node's pods included."""
    return {**effective(pod, "requests"), "pods": Quantity.of(1)}


def _used(pods: Sequence[Manifest], node: Manifest) -> Amounts:
    used: Amounts = {}
    for pod in pods:
        runs_here = get(pod, "spec", "nodeName") == name(node)
        if runs_here and get(pod, "status", "phase") not in FINISHED:
            used = added(used, requests(pod))
    return used


def _preference(node: Manifest, pods: Sequence[Manifest]) -> tuple[bool, int, str]:
    """Keep GPUs for those who ask for them, then spread."""
    gpus = "nvidia.com/gpu" in get(node, "status", "allocatable", default={})
    here = sum(get(pod, "spec", "nodeName") == name(node) for pod in pods)
    return gpus, here, name(node)


def _untolerated(tolerations: Sequence[Manifest], taints: Sequence[Manifest]) -> Manifest | None:
    for taint in taints:
        hard = taint.get("effect") in ("NoSchedule", "NoExecute")
        if hard and not any(_tolerates(each, taint) for each in tolerations):
            return taint
    return None


def _tolerates(toleration: Manifest, taint: Manifest) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    wanted = (toleration.get("key"), toleration.get("value", ""))
    return wanted == (taint["key"], taint.get("value", ""))


def _affine(spec: Manifest, node: Manifest) -> bool:
    found = labels(node)
    if any(found.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    required = get(
        spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required is None:
        return True
    return any(_term_holds(term, node) for term in required.get("nodeSelectorTerms", []))


def _term_holds(term: Manifest, node: Manifest) -> bool:
    """An empty term matches no node."""
    by_label, by_field = term.get("matchExpressions", []), term.get("matchFields", [])
    fields = {"metadata.name": name(node)}
    return (
        bool(by_label or by_field)
        and all(requirement_holds(each, labels(node)) for each in by_label)
        and all(requirement_holds(each, fields) for each in by_field)
    )
