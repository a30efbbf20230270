"""EndpointSlices: which pods a Service leads to."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kaito_laptop.controllers.owned import is_active, is_ready
from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue
from kaito_laptop.core.objects import (
    get,
    is_controlled_by,
    is_deleting,
    labels,
    matches,
    name,
    namespace,
    owner_reference,
    same,
)

PORTS = "laptop.kaito.sh/ports"
"""Annotation of a pod: the port of this computer behind each port of its containers."""


class EndpointsController:
    """Keeps one slice for each pod behind a Service: as processes, pods differ in their ports."""

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        self._cluster = cluster
        self._services: Resource = cluster.resource("v1", "Service")
        self._pods: Resource = cluster.resource("v1", "Pod")
        self._slices: Resource = cluster.resource("discovery.k8s.io/v1", "EndpointSlice")
        self._known: dict[Key, Manifest] = {}
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        cluster.watch([self._services], self._service_changed)
        cluster.watch([self._pods], self._pod_changed)

    def _service_changed(self, event: Event) -> None:
        key = Key(self._services, name(event.object), namespace(event.object))
        if event.type == "DELETED":
            self._known.pop(key, None)
            return
        self._known[key] = event.object
        self._queue.add(key)

    def _pod_changed(self, event: Event) -> None:
        states = [event.object] if event.old is None else [event.object, event.old]
        for key, service in self._known.items():
            if any(_leads_to(service, state) for state in states):
                self._queue.add(key)

    def _look_at(self, key: Key) -> None:
        try:
            service = self._cluster.get(key)
        except NotFound:
            return
        if is_deleting(service):
            return
        pods = self._cluster.list(self._pods, key.namespace)
        wanted = [_slice(service, pod) for pod in pods if _leads_to(service, pod)]
        self._replace(service, [each for each in wanted if each is not None])

    def _replace(self, service: Manifest, wanted: Sequence[Manifest]) -> None:
        existing = {
            name(each): each
            for each in self._cluster.list(self._slices, namespace(service))
            if is_controlled_by(each, service)
        }
        for each in wanted:
            known = existing.pop(name(each), None)
            if known is None:
                self._cluster.create(each)
            elif not same(_content(known), _content(each)):
                self._cluster.update({**known, **_content(each)})
        for gone in existing:
            self._cluster.delete(Key(self._slices, gone, namespace(service)))


def _content(manifest: Manifest) -> Manifest:
    return {"endpoints": manifest["endpoints"], "ports": manifest.get("ports", [])}


def _leads_to(service: Manifest, pod: Manifest) -> bool:
    selector = get(service, "spec", "selector", default={})
    return (
        bool(selector)
        and namespace(service) == namespace(pod)
        and matches({"matchLabels": selector}, labels(pod))
    )


def _slice(service: Manifest, pod: Manifest) -> Manifest | None:
    address = get(pod, "status", "podIP")
    if address is None or not is_active(pod):
        return None
    ready = is_ready(pod) or bool(get(service, "spec", "publishNotReadyAddresses"))
    found = get(pod, "metadata", "annotations", PORTS)
    real: dict[str, int] = json.loads(found) if found else {}
    ports = []
    for port in service["spec"].get("ports", []):
        target = _target(pod, port["targetPort"])
        if target is not None:
            entry = {"port": real.get(str(target), target), "protocol": port["protocol"]}
            ports.append({"name": port.get("name", ""), **entry})
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name(service)}-{name(pod)}"[:253],
            "namespace": namespace(service),
            "labels": {"kubernetes.io/service-name": name(service)},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "nodeName": get(pod, "spec", "nodeName", default=""),
                "targetRef": {"kind": "Pod", "name": name(pod), "namespace": namespace(pod)},
            }
        ],
        "ports": ports,
    }


def _target(pod: Manifest, target: int | str) -> int | None:
    """Return the number of a port that a Service names or numbers."""
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            if port.get("name") == target:
                return int(port["containerPort"])
    return None
