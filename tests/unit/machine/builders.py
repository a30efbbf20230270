"""Machines, Nodes and requests with defaults that overrides replace."""

from __future__ import annotations

import copy
from typing import Any

UID = "6f8a7c1e-0000-4000-8000-000000000001"
NAME = "ws0123456789"
SIZE = "Standard_NC6s_v3"
FINALIZER = "metacontroller.io/compositecontroller-kaito-machine"


def machine(**overrides: Any) -> dict[str, Any]:
    """A Machine; keywords `metadata`, `spec` and `status` are merged into it."""
    found: dict[str, Any] = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Machine",
        "metadata": {
            "name": NAME,
            "namespace": "ml",
            "uid": UID,
            "generation": 1,
            "finalizers": [FINALIZER],
            "labels": {
                "kaito.sh/workspace": "tuning-phi-3",
                "kaito.sh/workspacenamespace": "ml",
                "karpenter.sh/provisioner-name": "default",
                "controller-uid": "of-the-workspace",
            },
        },
        "spec": {
            "machineTemplateRef": {"name": NAME},
            "requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [SIZE]},
                {"key": "kaito.sh/machine-type", "operator": "In", "values": ["gpu"]},
            ],
            "resources": {"requests": {"storage": "100Gi"}},
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
        },
    }
    for key, value in overrides.items():
        found[key] = {**found.get(key, {}), **value}
    return copy.deepcopy(found)


def node(
    name: Any = "aks-node-0",
    uid: Any = UID,
    *,
    ready: Any = "True",
    gpus: Any = "1",
    taints: Any = (),
    **meta: Any,
) -> Any:
    """A Node of the Machine."""
    amounts = {"cpu": "6", "memory": "115387540Ki", "pods": "110", "nvidia.com/gpu": gpus}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kaito.sh/machine-uid": uid}, **meta},
        "spec": {"providerID": f"azure:///{name}", "taints": list(taints)},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def body(parent: Any, nodes: Any = (), finalizing: Any = False) -> Any:
    """What Metacontroller posts."""
    related = {"Node.v1": {item["metadata"]["name"]: item for item in nodes}}
    return {
        "controller": {},
        "parent": parent,
        "children": {},
        "related": related,
        "finalizing": finalizing,
    }


def condition(status: Any, type_: Any) -> Any:
    """The condition of that type, or an empty one."""
    return next((item for item in status["conditions"] if item["type"] == type_), {})


def reason(status: Any, type_: Any = "Ready") -> str:
    """Status and reason of a condition, as in 'False/Creating'."""
    found = condition(status, type_)
    return f"{found['status']}/{found['reason']}" if found else ""
