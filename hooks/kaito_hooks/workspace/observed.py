"""What Metacontroller saw of one Workspace, as questions that the decisions ask. Takes no decision itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kaito_hooks.api import labels
from kaito_hooks.kube.conditions import is_true
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    is_deleting,
    labels_of,
    mapping,
    metadata,
    name,
    namespace,
    number,
    owners,
    sequence,
    text,
    uid,
)
from kaito_hooks.metacontroller import SyncRequest


@dataclass(frozen=True, slots=True)
class Observed:
    """The parent, its children, its pods, the nodes and the ConfigMaps."""

    parent: Manifest
    children: Mapping[str, Sequence[Manifest]]
    related: Mapping[str, Sequence[Manifest]]

    @classmethod
    def from_request(cls, request: SyncRequest) -> Observed:
        """The same facts, without what is Metacontroller's alone."""
        return cls(request.parent, request.children, request.related)

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as it was written last."""
        return mapping(self.parent.get("status"))

    @property
    def nodes(self) -> Sequence[Manifest]:
        """Nodes that match the selector or were made for this Workspace, sorted by name."""
        return self.related.get("Node", ())

    @property
    def machines(self) -> Sequence[Manifest]:
        """Machines of this Workspace, also those on their way out."""
        return self.children.get("Machine", ())

    def all_children(self) -> list[Manifest]:
        """Every child of every kind."""
        return [child for children in self.children.values() for child in children]

    def child(self, kind: str, child_name: str) -> Manifest | None:
        """The child, unless it is being deleted."""
        for child in self.children.get(kind, ()):
            if name(child) == child_name and not is_deleting(child):
                return child
        return None

    def leaving(self, kind: str, child_name: str) -> bool:
        """Whether a child of that name is still being deleted."""
        return any(
            name(child) == child_name and is_deleting(child)
            for child in self.children.get(kind, ())
        )

    def foreign(self, kind: str, object_name: str) -> Manifest | None:
        """An object of that name in the Workspace's namespace that another owner has, or nobody.

        Only of kinds that `customize` asks for by name. A child that has just been made is ours by its owner, even
        if it is not among the children yet.
        """
        for item in self.related.get(kind, ()):
            owner = next((o for o in owners(item) if o.get("controller") is True), {})
            if (
                name(item) == object_name
                and namespace(item) == namespace(self.parent)
                and owner.get("uid") != uid(self.parent)
                and self.child(kind, object_name) is None
                and not self.leaving(kind, object_name)
            ):
                return item
        return None

    def pods(self, component: str) -> list[Manifest]:
        """Pods of this Workspace with that component label, oldest first."""
        mine = [
            pod
            for pod in self.related.get("Pod", ())
            if (own := labels_of(pod)).get(labels.COMPONENT) == component
            and own.get(labels.WORKSPACE) == name(self.parent)
            and namespace(pod) == namespace(self.parent)
        ]
        return sorted(
            mine, key=lambda pod: (text(metadata(pod).get("creationTimestamp")), name(pod))
        )

    def config_map(self, config_map_name: str) -> Manifest | None:
        """A ConfigMap of the Workspace's namespace."""
        for item in self.related.get("ConfigMap", ()):
            if name(item) == config_map_name and namespace(item) == namespace(self.parent):
                return item
        return None


def as_last_applied(child: Manifest) -> Manifest:
    """The child as it was last asked for, so that declaring it again changes nothing.

    Metacontroller merges against what it applied last; an observed object sent back as it is
    would be rewritten at every sync.
    """
    try:
        applied = mapping(orjson.loads(annotations_of(child).get(labels.LAST_APPLIED, "")))
    except ValueError:
        applied = {}
    own = mapping(applied.get("metadata"))
    kept_labels = {
        key: value for key, value in mapping(own.get("labels")).items() if key != "controller-uid"
    }
    declared: Manifest = {
        **applied,
        "apiVersion": child["apiVersion"],
        "kind": child["kind"],
        "metadata": {"name": name(child), "namespace": namespace(child)},
    }
    declared.pop("status", None)
    if kept_labels:
        declared["metadata"]["labels"] = kept_labels
    if mapping(own.get("annotations")):
        declared["metadata"]["annotations"] = dict(own["annotations"])
    return declared


def holds(there: object, wanted: object) -> bool:
    """Whether an object has everything that was asked for; what others added does not count."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(
            holds(there.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return all(any(holds(item, value) for item in sequence(there)) for value in wanted)
    return there == wanted


def secret_text(secret: Manifest | None, key: str) -> str:
    """A value of a Secret, decoded; empty when it is not there."""
    try:
        return base64.b64decode(text(get_in(secret, "data", key))).decode()
    except (binascii.Error, ValueError):
        return ""


def is_complete(job: Manifest | None) -> bool:
    """Whether the Job ended well."""
    return is_true(get_in(job, "status", "conditions"), "Complete")


def is_failed(job: Manifest | None) -> bool:
    """Whether the Job ended badly."""
    return is_true(get_in(job, "status", "conditions"), "Failed")


def is_active(job: Manifest | None) -> bool:
    """Whether a pod of the Job may still run."""
    return number(get_in(job, "status", "active")) > 0


def is_rolled_out(deployment: Manifest | None, wanted: Manifest) -> bool:
    """Whether the Deployment is the wanted one and all its pods, and no older ones, are ready."""
    if deployment is None:
        return False
    replicas = number(get_in(wanted, "spec", "replicas"))
    status = mapping(deployment.get("status"))
    return (
        annotations_of(deployment).get(labels.SPEC_HASH)
        == annotations_of(wanted).get(labels.SPEC_HASH)
        and number(status.get("observedGeneration"))
        >= number(get_in(deployment, "metadata", "generation"))
        and number(status.get("replicas")) == replicas
        and number(status.get("updatedReplicas")) == replicas
        and number(status.get("readyReplicas")) == replicas
    )


def strings(value: object) -> list[str]:
    """The strings of a list."""
    return [item for item in sequence(value) if isinstance(item, str)]
