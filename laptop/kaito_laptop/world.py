"""A whole cluster for one story: virtual time, hooks in this process, pods that the story plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from kaito_laptop.apply import apply
from kaito_laptop.arm import ArmServer, ManagedCluster
from kaito_laptop.clock import VirtualClock
from kaito_laptop.cluster import Key, Manifest, NotFound, Propagation, Resource
from kaito_laptop.cluster_nodes import ready_node
from kaito_laptop.control_plane import control_plane
from kaito_laptop.engine import Engine
from kaito_laptop.kubelet.scripted import ScriptedKubelet
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import (
    CheckedCaller,
    Checker,
    HookCall,
    HookCaller,
    WsgiApp,
    WsgiCaller,
    url_of,
)
from kaito_laptop.objects import condition, get, labels, matches, name, namespace, uid
from kaito_laptop.package_data import controllers

WORKSPACE_HOOK = "workspace-hook.kaito-system:80"
MACHINE_HOOK = "node-provisioner.kaito-system:80"
ARM_STEP_SECONDS = 5.0


class World:
    """What a story can do and see; everything it does is followed through before it returns."""

    def __init__(
        self,
        hooks: Mapping[str, WsgiApp] | None = None,
        checkers: Sequence[Checker] = (),
        *,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        """Start with these hooks, by `host:port`; `serve` adds others.

        With `shuffle` the order in which controllers work changes with the seed.
        """
        self.clock = VirtualClock()
        self.engine = Engine(self.clock, seed if shuffle else None)
        self._plane = control_plane(self.engine, seed)
        self.cluster = self._plane.cluster
        self.nodes = self._plane.nodes
        self.kubelet = ScriptedKubelet(self.cluster, self.engine)
        self.calls: list[HookCall] = []
        self._apps: dict[str, WsgiApp] = {}
        self.hooks: HookCaller = WsgiCaller(self._apps)
        """May be replaced while the story runs, for a hook that is down."""
        caller = CheckedCaller(self._call, [self.calls.append, *checkers])
        self.metacontroller = Metacontroller(self.cluster, self.engine, caller, seed)
        self._applied: set[Key] = set()
        """What the story made itself."""
        for each in controllers():
            if each["kind"] == "Namespace":
                self.cluster.create(each)
        for address, app in (hooks or {}).items():
            self.serve(address, app)
        self.settle()
        self._first = {uid(each) for each in self._everything()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.metacontroller.stop()

    def serve(self, address: str, app: WsgiApp) -> None:
        """Let a hook answer at `host:port`, and start the CompositeControllers that call it."""
        self._apps[address] = app
        for each in controllers():
            if each["kind"] == "CompositeController" and _hosts(each) == {address}:
                self._applied.add(self._key_of(apply(self.cluster, each)))
        self.settle()

    def start_arm(self, gpus: Mapping[str, int], **options: Any) -> ArmServer:
        """Start the ARM stand-in on the story's time; `gpus` are the GPUs of each Azure size.

        The caller stops it; the options are those of `ManagedCluster`.
        """
        managed = ManagedCluster(self.clock, self.nodes, gpus, **options)
        self.engine.every(ARM_STEP_SECONDS, managed.advance)
        return ArmServer(managed).start()

    def apply(self, manifest: Manifest | str | Path) -> None:
        """Apply an object, YAML text of several, or a file."""
        if isinstance(manifest, Path):
            manifest = manifest.read_text(encoding="utf-8")
        several = yaml.safe_load_all(manifest) if isinstance(manifest, str) else [manifest]
        for each in several:
            if each:
                self._applied.add(self._key_of(apply(self.cluster, each)))
        self.settle()

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str = "default",
        propagation: Propagation = "Background",
    ) -> None:
        """Delete an object as kubectl does."""
        self.cluster.delete(self._key(kind, name, namespace), propagation)
        self.settle()

    def edit(
        self,
        kind: str,
        name: str,
        change: Callable[[Manifest], object],
        namespace: str = "default",
    ) -> None:
        """Change an object as `kubectl edit` does."""
        manifest = self.cluster.get(self._key(kind, name, namespace))
        change(manifest)
        self.cluster.update(manifest)
        self.settle()

    def set_status(
        self, kind: str, name: str, status: Manifest, namespace: str = "default"
    ) -> None:
        """Write the status of an object in the place of who owns it."""
        manifest = self.cluster.get(self._key(kind, name, namespace))
        self.cluster.update_status({**manifest, "status": status})
        self.settle()

    def get(self, kind: str, name: str, namespace: str = "default") -> Manifest:
        """Return an object; raise `NotFound` if there is none."""
        return self.cluster.get(self._key(kind, name, namespace))

    def find(self, kind: str, name: str, namespace: str = "default") -> Manifest | None:
        """Return an object, or None."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(
        self, kind: str, selector: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> Sequence[Manifest]:
        """Return all objects of a kind whose labels match."""
        return self.cluster.list(self._resource(kind), namespace, selector)

    def pods(self, owner: str = "", **selector: str) -> Sequence[Manifest]:
        """Return the pods of a Job, Deployment or StatefulSet, or with labels such as `app="x"`."""
        found = self.cluster.list(self._resource("Pod"))
        return [
            pod
            for pod in found
            if matches({"matchLabels": selector}, labels(pod))
            and (not owner or owner in _owner_names(pod))
        ]

    def pod(self, owner: str = "", **selector: str) -> Manifest:
        """Return the only pod; raise if there is none or there are several."""
        found = self.pods(owner, **selector)
        if len(found) != 1:
            raise AssertionError(f"expected one pod, found {[name(each) for each in found]}")
        return found[0]

    def condition(
        self, name: str, type_: str, kind: str = "Workspace", namespace: str = "default"
    ) -> Manifest:
        """Return a condition; one that is not there has no status, reason or message."""
        found = condition(self.get(kind, name, namespace), type_)
        return found or {"type": type_, "status": None, "reason": None, "message": None}

    def is_true(self, name: str, type_: str, kind: str = "Workspace") -> bool:
        """Whether a condition is True."""
        return bool(self.condition(name, type_, kind)["status"] == "True")

    def events(self, about: str, reason: str = "") -> Sequence[Manifest]:
        """Return the events about objects of a name."""
        return [
            each
            for each in self.list("Event")
            if each["involvedObject"]["name"] == about and reason in ("", each["reason"])
        ]

    def add_node(
        self,
        which: str,
        *,
        gpus: int = 0,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Manifest] = (),
    ) -> Manifest:
        """Add a ready node."""
        resources = {"nvidia.com/gpu": str(gpus)} if gpus else {}
        self.nodes.add(
            ready_node(which, self.engine, resources=resources, labels=labels, taints=taints)
        )
        self.settle()
        self._applied.add(self._key("Node", which, ""))
        return self.get("Node", which, "")

    def remove_node(self, which: str) -> None:
        """Let a node vanish, as a spot node does."""
        self.nodes.remove(which)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that happens without waiting."""
        self.engine.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.engine.advance(seconds)

    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        """Let time pass until something holds; fail if it does not."""
        self.engine.run_until(reached, within)

    def remaining(self) -> Sequence[Manifest]:
        """Return what is there and was neither there at first nor applied by the story."""
        return [
            each
            for each in self._everything()
            if uid(each) not in self._first and self._key_of(each) not in self._applied
        ]

    def assert_nothing_remains(self) -> None:
        """Fail if anything is left of what controllers made, or of Workspaces and Machines."""
        left = [
            *self.remaining(),
            *(each for each in self._everything() if each["apiVersion"].startswith("kaito.sh/")),
        ]
        if left:
            names = sorted({f"{each['kind']} {namespace(each)}/{name(each)}" for each in left})
            raise AssertionError(f"left behind: {', '.join(names)}")

    def _call(self, url: str, body: bytes, timeout_seconds: float) -> Any:
        return self.hooks(url, body, timeout_seconds)

    def _everything(self) -> Sequence[Manifest]:
        return [
            each
            for resource in self.cluster.resources()
            if resource.kind != "Event"
            for each in self.cluster.list(resource)
        ]

    def _resource(self, kind: str) -> Resource:
        for resource in self.cluster.resources():
            if kind in (resource.kind, resource.plural):
                return resource
        raise NotFound(f'the cluster has no kind "{kind}"')

    def _key(self, kind: str, name: str, namespace: str) -> Key:
        resource = self._resource(kind)
        return Key(resource, name, namespace if resource.namespaced else "")

    def _key_of(self, manifest: Manifest) -> Key:
        resource = self.cluster.resource(manifest["apiVersion"], manifest["kind"])
        return Key(resource, name(manifest), namespace(manifest))


def _owner_names(pod: Manifest) -> list[str]:
    return [each["name"] for each in get(pod, "metadata", "ownerReferences", default=[])]


def _hosts(controller: Manifest) -> set[str]:
    hooks = controller["spec"]["hooks"].values()
    return {url_of(hook["webhook"]).split("/")[2] for hook in hooks if hook}
