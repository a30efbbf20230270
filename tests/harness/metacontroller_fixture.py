"""A cluster with one scripted hook: what the loop asks is kept, what it gets is a Python function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import Event, Key
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HookAnswer
from kaito_laptop.store.memory import MemoryCluster

CONTROLLER = "workspace-controller"


def definition(
    kind: str, plural: str, group: str = "kaito.sh", schema: Any = None, namespaced: bool = True
) -> Any:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced" if namespaced else "Cluster",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": "v1alpha1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": schema
                        or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    },
                }
            ],
        },
    }


def composite(
    children: Any = (),
    hooks: Any = ("sync",),
    version: str = "v2",
    parent: str = "workspaces",
    **spec: Any,
) -> Any:
    paths = {"sync": "/sync", "finalize": "/fin", "customize": "/cust"}
    return {
        "apiVersion": "metacontroller.k8s.io/v1alpha1",
        "kind": "CompositeController",
        "metadata": {"name": CONTROLLER},
        "spec": {
            "generateSelector": True,
            "parentResource": {"apiVersion": "kaito.sh/v1alpha1", "resource": parent},
            "childResources": [
                {"apiVersion": api, "resource": plural, "updateStrategy": {"method": method}}
                for api, plural, method in children
            ],
            "hooks": {
                each: {"version": version, "webhook": {"url": f"http://hook{paths[each]}"}}
                for each in hooks
            },
            **spec,
        },
    }


@dataclass
class ScriptedHooks:
    """Answers with what `on` says, and remembers every call."""

    on: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    clock: VirtualClock | None = None

    def __call__(self, url: Any, body: Any, timeout_seconds: Any) -> Any:
        path = url.removeprefix("http://hook")
        request = json.loads(body)
        self.calls.append((path, request))
        answer = self.on[path](request)
        if isinstance(answer, HookAnswer):
            return answer
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return HookAnswer(200, {}, text)

    def bodies(self, path: str) -> Any:
        return [request for called, request in self.calls if called == path]


class MetacontrollerFixture:
    """Store, event loop and Metacontroller, without any built-in controller."""

    def __init__(self, seed: int = 0, patience: int = 20_000) -> None:
        self.clock = VirtualClock()
        self.event_loop = EventLoop(self.clock, patience=patience)
        self.cluster = MemoryCluster(self.clock)
        self.hooks = ScriptedHooks()
        self.metacontroller = Metacontroller(self.cluster, self.event_loop, self.hooks, seed)
        self.writes: list[Event] = []
        for kind, plural in (("Workspace", "workspaces"), ("Machine", "machines")):
            self.cluster.create(definition(kind, plural))

    def count_writes(self) -> None:
        """Start counting the changes of everything but events."""
        self.writes.clear()

        def receive(event: Event) -> None:
            if event.object["kind"] != "Event":
                self.writes.append(event)

        self.cluster.watch(None, receive)
        self.writes.clear()

    def key(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Any:
        resource = self.cluster.resource(api_version, kind)
        return Key(resource, name, namespace if resource.namespaced else "")

    def get(self, api_version: str, kind: str, name: str, namespace: str = "default") -> Any:
        return self.cluster.get(self.key(api_version, kind, name, namespace))

    def list(self, api_version: str, kind: str) -> Any:
        return self.cluster.list(self.cluster.resource(api_version, kind))

    def workspace(self, name: str = "w", namespace: str = "default", **fields: Any) -> Any:
        return self.cluster.create(
            {
                "apiVersion": "kaito.sh/v1alpha1",
                "kind": "Workspace",
                "metadata": {"name": name, "namespace": namespace},
                **fields,
            }
        )

    def events(self, reason: str = "SyncError") -> Any:
        return [e for e in self.list("v1", "Event") if e["reason"] == reason]
