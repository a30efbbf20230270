"""What a story can do and see, on whichever cluster it plays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import yaml

from kaito_laptop.controllers.cluster_nodes import ClusterNodes, ready_node
from kaito_laptop.controllers.owned import is_active
from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound, Propagation, Resource
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import condition, copy, get, labels, matches, name, namespace, uid
from kaito_laptop.core.retries import retry_on_conflict
from kaito_laptop.store.apply import apply


class Store(Cluster, Protocol):
    """A cluster that can say which kinds it has."""

    def resources(self) -> Sequence[Resource]:
        """Return every kind that the cluster knows now."""
        ...


class ClusterClient(ABC):
    """Reads and changes the cluster as kubectl does; what follows from a change is followed through."""

    namespace = "default"
    """Where the story plays."""

    def __init__(self, cluster: Store, event_loop: EventLoop, nodes: ClusterNodes) -> None:
        self.cluster = cluster
        self.event_loop = event_loop
        self.nodes = nodes
        self._applied: set[Key] = set()
        """What the story made itself."""
        self._first: set[str] = set()

    @abstractmethod
    def settle(self) -> None:
        """Let everything happen that happens without waiting, until the cluster is at rest."""

    @abstractmethod
    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        """Let time pass until something holds; fail if it does not."""

    @abstractmethod
    def soon(self, reached: Callable[[], bool]) -> None:
        """Fail unless something comes to hold by itself, without a timer or the cloud."""

    def let_resyncs_pass(self) -> None:
        """Let every Workspace and Machine be looked at again, though nothing has changed.

        Metacontroller does so when the spec of a CompositeController changes.
        """
        for controller in self.list("CompositeController"):
            self.edit("CompositeController", name(controller), _resync_a_second_later)
        self.settle()

    def follow(self) -> None:
        """Follow through what was done, as far as it takes no waiting."""
        self.event_loop.settle()

    def remember_what_is_there(self) -> None:
        """Take what is there now for what was there before the story."""
        self._first = {uid(each) for each in self._everything()}

    def apply(self, manifest: Manifest | str | Path) -> None:
        """Apply an object, YAML text of several, or a file."""
        if isinstance(manifest, Path):
            manifest = manifest.read_text(encoding="utf-8")
        several = yaml.safe_load_all(manifest) if isinstance(manifest, str) else [manifest]
        for each in several:
            if each:
                self._applied.add(self._key_of(self._apply(each)))
        self.follow()

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str = "",
        propagation: Propagation = "Background",
    ) -> None:
        """Delete an object as kubectl does."""
        self.cluster.delete(self._key(kind, name, namespace), propagation)
        self.follow()

    def edit(
        self,
        kind: str,
        name: str,
        change: Callable[[Manifest], object],
        namespace: str = "",
    ) -> None:
        """Change an object as `kubectl edit` does."""
        key = self._key(kind, name, namespace)

        def edit() -> None:
            manifest = self.cluster.get(key)
            change(manifest)
            self.cluster.update(manifest)

        retry_on_conflict(edit)
        self.follow()

    def set_status(self, kind: str, name: str, status: Manifest, namespace: str = "") -> None:
        """Write the status of an object in the place of who owns it."""
        key = self._key(kind, name, namespace)
        retry_on_conflict(
            lambda: self.cluster.update_status({**self.cluster.get(key), "status": status})
        )
        self.follow()

    def get(self, kind: str, name: str, namespace: str = "") -> Manifest:
        """Return an object; raise `NotFound` if there is none."""
        return self.cluster.get(self._key(kind, name, namespace))

    def find(self, kind: str, name: str, namespace: str = "") -> Manifest | None:
        """Return an object, or None."""
        try:
            return self.get(kind, name, namespace)
        except NotFound:
            return None

    def list(
        self, kind: str, selector: Mapping[str, str] | None = None, namespace: str | None = None
    ) -> Sequence[Manifest]:
        """Return all objects of a kind whose labels match, in the namespace of the story."""
        resource = self._resource(kind)
        place = (namespace or self.namespace) if resource.namespaced else None
        return self.cluster.list(resource, place, selector)

    def pods(self, owner: str = "", **selector: str) -> Sequence[Manifest]:
        """Return the pods of a Job or Deployment, or with labels such as `app="x"`."""
        return [
            pod
            for pod in self.list("Pod")
            if matches({"matchLabels": selector}, labels(pod))
            and (not owner or owner in _owner_names(pod))
        ]

    def pod(self, owner: str = "", **selector: str) -> Manifest:
        """Return the only pod that has not ended, else the only one; raise if there are several."""
        every = self.pods(owner, **selector)
        found = [pod for pod in every if is_active(pod)] or every
        if len(found) != 1:
            raise AssertionError(f"expected one pod, found {[name(each) for each in found]}")
        return found[0]

    def condition(
        self, name: str, type_: str, kind: str = "Workspace", namespace: str = ""
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
            ready_node(which, self.event_loop, resources=resources, labels=labels, taints=taints)
        )
        self.follow()
        self._applied.add(self._key("Node", which, ""))
        return self.get("Node", which, "")

    def remove_node(self, which: str) -> None:
        """Let a node vanish, as a spot node does."""
        self.nodes.remove(which)
        self.follow()

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
        return Key(resource, name, (namespace or self.namespace) if resource.namespaced else "")

    def _apply(self, manifest: Manifest) -> Manifest:
        wanted: Manifest = copy(manifest)
        wanted["metadata"].setdefault("namespace", self.namespace)
        found: Manifest = {}
        retry_on_conflict(lambda: found.update(apply(self.cluster, wanted)))
        return found

    def _key_of(self, manifest: Manifest) -> Key:
        resource = self.cluster.resource(manifest["apiVersion"], manifest["kind"])
        return Key(resource, name(manifest), namespace(manifest))


def condition_of(manifest: Manifest, type_: str) -> Manifest:
    """Return a condition that must be there."""
    found = condition(manifest, type_)
    assert found is not None, f"{name(manifest)} has no condition {type_}"
    return found


def _resync_a_second_later(controller: Manifest) -> None:
    controller["spec"]["resyncPeriodSeconds"] += 1


def _owner_names(pod: Manifest) -> list[str]:
    """Name the pod's owner; a ReplicaSet is called like its Deployment, with a suffix."""
    found = get(pod, "metadata", "ownerReferences", default=[])
    return [
        each["name"].rpartition("-")[0] if each["kind"] == "ReplicaSet" else each["name"]
        for each in found
    ]
