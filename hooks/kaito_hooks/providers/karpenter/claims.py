"""A NodeClaim as Karpenter writes it: what we ask for, and what we read out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_hooks.api import labels as keys
from kaito_hooks.api.nodes import accepted
from kaito_hooks.kube.conditions import Condition, find
from kaito_hooks.kube.objects import (
    Manifest,
    get_in,
    is_deleting,
    labels_of,
    mapping,
    metadata,
    name,
    sequence,
    text,
    uid,
)
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine.nodes import GPU
from kaito_hooks.machine.provider import ListedPool, Ours, PoolRequest, Taint
from kaito_hooks.providers.aks.conventions import AKS
from kaito_hooks.providers.karpenter.messages import message_of
from kaito_hooks.providers.karpenter.settings import KarpenterSettings

GROUP, VERSION, PLURAL = "karpenter.sh", "v1", "nodeclaims"
API_VERSION = f"{GROUP}/{VERSION}"
INSTALL = "kaito.sh/install"
"""Label: which installation of the hook made it."""
MACHINE = "kaito.sh/machine"
"""Annotation: namespace and name, for people."""
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
DRAIN_LIMIT = "10m"
"""After that a budget of someone else's pods does not keep a paid node alive."""
CONDITIONS = {
    "Launched": types.LAUNCHED,
    "Registered": types.REGISTERED,
    "Initialized": types.INITIALIZED,
}
"""Karpenter's conditions, and the Machine's."""
NOT_LOOKED_AT = "AwaitingReconciliation"
"""Karpenter's own reason for a condition that it has not written yet."""


def body(request: PoolRequest, settings: KarpenterSettings) -> Manifest:
    """The NodeClaim to create: one node that Karpenter neither merges, replaces nor ends by itself."""
    kind = "spot" if request.is_spot else "on-demand"
    spec: Manifest = {
        "nodeClassRef": {
            "group": settings.node_class_group,
            "kind": settings.node_class_kind,
            "name": settings.node_class_name,
        },
        "requirements": [
            _one_of(keys.INSTANCE_TYPE, request.size),
            _one_of("kubernetes.io/os", "linux"),
            _one_of(keys.CAPACITY_TYPE, kind),
        ],
        "expireAfter": "Never",
        "terminationGracePeriod": DRAIN_LIMIT,
    }
    if request.taints:
        spec["taints"] = [_taint(taint) for taint in request.taints]
    if request.labels.get(keys.MACHINE_TYPE) == "gpu":
        # The disk is the node class's: an amount that no size offers would find no size.
        spec["resources"] = {"requests": {GPU: "1"}}
    return {
        "apiVersion": API_VERSION,
        "kind": "NodeClaim",
        "metadata": {
            "name": request.ref.name,
            "labels": {**_labels(request.labels), INSTALL: settings.install_id},
            "annotations": {DO_NOT_DISRUPT: "true", MACHINE: request.machine},
        },
        "spec": spec,
    }


def read_claim(claim: Mapping[str, Any]) -> ListedPool | None:
    """One NodeClaim; None for a body that is none."""
    version = text(metadata(claim).get("resourceVersion"))
    if not (name(claim) and uid(claim) and version):
        return None
    labels = labels_of(claim)
    seen = Ours(
        state=_state(claim),
        etag=f"{uid(claim)}/{version}",
        created=parse_timestamp(metadata(claim).get("creationTimestamp")),
        conditions=tuple(_condition(claim, ours, theirs) for theirs, ours in CONDITIONS.items()),
    )
    owner = labels.get(keys.MACHINE_UID, "")
    return ListedPool(name(claim), seen, (owner,) if owner else (), labels.get(INSTALL, ""))


def preconditions(etag: str) -> Manifest:
    """What a deletion must find unchanged."""
    owner, _, version = etag.partition("/")
    return {"uid": owner, "resourceVersion": version} if version else {"uid": owner}


def _state(claim: Mapping[str, Any]) -> str:
    if is_deleting(claim):
        return "Deleting"
    launched = find(get_in(claim, "status", "conditions"), "Launched")
    return "Succeeded" if launched.get("status") == "True" else "Creating"


def _condition(claim: Mapping[str, Any], ours: str, theirs: str) -> Condition:
    found = find(get_in(claim, "status", "conditions"), theirs)
    reason = text(found.get("reason")) or NOT_LOOKED_AT
    message = message_of(reason, text(found.get("message")), _size(claim))
    for status in ("True", "False"):
        if found.get("status") == status:
            return Condition(ours, "True" if status == "True" else "False", reason, message)
    return Condition(ours, "Unknown", reason, message)


def _size(claim: Mapping[str, Any]) -> str:
    for item in sequence(get_in(claim, "spec", "requirements")):
        if mapping(item).get("key") == keys.INSTANCE_TYPE:
            return next(map(text, sequence(mapping(item).get("values"))), "")
    return ""


def _labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Karpenter keeps its own prefix to itself."""
    return {
        key: value
        for key, value in accepted(labels, (AKS,)).items()
        if not key.startswith("karpenter.sh/")
    }


def _taint(taint: Taint) -> Manifest:
    value = {"value": taint.value} if taint.value else {}
    return {"key": taint.key, **value, "effect": taint.effect}


def _one_of(key: str, value: str) -> Manifest:
    return {"key": key, "operator": "In", "values": [value]}
