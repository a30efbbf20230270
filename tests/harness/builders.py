"""Objects as a real cluster shows them, with defaults and overrides."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
HASH_OF_ADAPTER = "sha256:" + "4c5f0a" * 10 + "77aa"


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A deep copy with changes merged in; None removes a key."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def tuning_workspace(**changes: Any) -> dict[str, Any]:
    base = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Workspace",
        "metadata": {
            "name": "workspace-tuning-phi-3",
            "namespace": "ml-team",
            "uid": "6f1c2a7e-5f0b-4d0f-9e0e-0f6b1c2d3e4f",
            "generation": 1,
            "creationTimestamp": "2026-11-02T09:30:00Z",
        },
        "resource": {
            "count": 1,
            "instanceType": "Standard_NC4as_T4_v3",
            "labelSelector": {"matchLabels": {"app": "tuning-phi-3"}},
        },
        "tuning": {
            "preset": {"name": "phi-3-mini-128k-instruct", "accessMode": "public"},
            "method": "qlora",
            "serve": True,
            "input": {
                "urls": ["https://data.example/dolly/train-00000-of-00001.parquet?download=true"]
            },
            "output": {
                "image": "mlteam.azurecr.io/adapters/phi-3:0.0.1",
                "imagePushSecret": "acr-push",
            },
        },
    }
    return merged(base, changes)


def inference_workspace(**changes: Any) -> dict[str, Any]:
    base = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Workspace",
        "metadata": {
            "name": "workspace-falcon-7b",
            "namespace": "ml-team",
            "uid": "0b9a4e1c-1111-4c7e-8a51-5d2d8c0a9b10",
            "generation": 1,
            "creationTimestamp": "2026-11-02T09:30:00Z",
        },
        "resource": {
            "count": 1,
            "instanceType": "Standard_NC24ads_A100_v4",
            "labelSelector": {"matchLabels": {"apps": "falcon-7b"}},
        },
        "inference": {"preset": {"name": "falcon-7b", "accessMode": "public"}},
    }
    return merged(base, changes)


def machine(workspace: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    base = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Machine",
        "metadata": {
            "name": name,
            "namespace": workspace["metadata"]["namespace"],
            "uid": f"uid-{name}",
            "labels": {
                "kaito.sh/workspace": workspace["metadata"]["name"],
                "kaito.sh/workspace-uid": workspace["metadata"]["uid"],
                "kaito.sh/machine-index": "0",
                "kaito.sh/machine-attempt": "0",
            },
        },
        "spec": {
            "requirements": [
                {
                    "key": "node.kubernetes.io/instance-type",
                    "operator": "In",
                    "values": [workspace["resource"]["instanceType"]],
                }
            ]
        },
    }
    return merged(base, changes)


def ready_machine(
    workspace: dict[str, Any], name: str, node_name: str = "aks-node-0", **changes: Any
) -> dict[str, Any]:
    status = {
        "nodeName": node_name,
        "conditions": [condition("Ready", "True", "Ready")],
    }
    return merged(machine(workspace, name, status=status), changes)


def node(
    name: str, labels: dict[str, str] | None = None, ready: bool = True, **changes: Any
) -> dict[str, Any]:
    base = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "status": {
            "conditions": [condition("Ready", "True" if ready else "False", "KubeletReady")]
        },
    }
    return merged(base, changes)


def condition(
    type_: str,
    status: str,
    reason: str = "Because",
    message: str = "",
    since: str = "2026-11-02T09:00:00Z",
) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }


def config_map(name: str, text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ml-team"},
        "data": {"training_config.yaml": text},
    }


def as_observed(child: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A child as Metacontroller applied it and the API server shows it."""
    applied = merged(child, {"metadata": {"labels": {"controller-uid": "parent"}}})
    served = {
        "metadata": {
            "uid": f"uid-{child['metadata']['name']}",
            "generation": 1,
            "resourceVersion": "41",
            "creationTimestamp": "2026-11-02T09:00:00Z",
            "annotations": {
                "metacontroller.k8s.io/last-applied-configuration": json.dumps(applied)
            },
        }
    }
    return merged(merged(applied, served), changes)


def complete_job(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return as_observed(
        job,
        **merged(
            {"status": {"succeeded": 1, "conditions": [condition("Complete", "True")]}}, changes
        ),
    )


def failed_job(job: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return as_observed(
        job,
        **merged({"status": {"failed": 1, "conditions": [condition("Failed", "True")]}}, changes),
    )


def pod_of(
    job: dict[str, Any], *ends: tuple[str, int, dict[str, Any]], phase: str = "Succeeded"
) -> dict[str, Any]:
    """A pod of a workload whose named containers ended with (name, exit code, termination message)."""
    template = job["spec"]["template"]
    init = {container["name"] for container in template["spec"].get("initContainers", ())}
    groups: dict[str, list[dict[str, Any]]] = {"initContainerStatuses": [], "containerStatuses": []}
    for name, code, message in ends:
        state = {
            "terminated": {
                "exitCode": code,
                "reason": "Error" if code else "Completed",
                "message": json.dumps(message),
            }
        }
        groups["initContainerStatuses" if name in init else "containerStatuses"].append(
            {"name": name, "state": state}
        )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job['metadata']['name']}-x7k2p",
            "namespace": job["metadata"]["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "annotations": dict(template["metadata"].get("annotations", {})),
            "creationTimestamp": "2026-11-02T09:10:00Z",
        },
        "spec": copy.deepcopy(template["spec"]),
        "status": {"phase": phase, **groups},
    }


def request(
    parent: dict[str, Any],
    children: list[dict[str, Any]] | None = None,
    related: list[dict[str, Any]] | None = None,
    finalizing: bool = False,
) -> dict[str, Any]:
    """A body in the v2 format: every kind of the manifest is there, keys are namespace/name."""
    groups: dict[str, dict[str, Any]] = {
        "Machine.kaito.sh/v1alpha1": {},
        "Job.batch/v1": {},
        "Deployment.apps/v1": {},
        "Service.v1": {},
        "Secret.v1": {},
    }
    for child in children or ():
        groups[f"{child['kind']}.{child['apiVersion']}"][_key(child)] = child
    others: dict[str, dict[str, Any]] = {"Node.v1": {}, "Pod.v1": {}, "ConfigMap.v1": {}}
    for item in related or ():
        others.setdefault(f"{item['kind']}.{item['apiVersion']}", {})[_key(item)] = item
    return {
        "controller": {"metadata": {"name": "kaito-workspace"}},
        "parent": parent,
        "children": groups,
        "related": others,
        "finalizing": finalizing,
    }


def _key(item: dict[str, Any]) -> str:
    namespace = item["metadata"].get("namespace", "")
    return f"{namespace}/{item['metadata']['name']}" if namespace else str(item["metadata"]["name"])
