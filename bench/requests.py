"""What Metacontroller sends of a tuning Workspace: 30 KB when its inputs are checked, 90 KB when it is served.

Recorded on a real API server it is 36 and 118 KB: the API server's defaults are left out here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.harness.builders import (
    as_observed,
    complete_job,
    merged,
    node,
    pod_of,
    ready_machine,
    request,
    tuning_workspace,
)
from tests.harness.wire import ROOT

Object = dict[str, Any]
NODE = "aks-node-0"


@dataclass(frozen=True)
class Moment:
    name: str
    body: bytes


def moments(ask: Callable[[bytes], Any]) -> list[Moment]:
    """`ask` is the hook itself: its children become those of the next request."""
    parent = tuning_workspace()
    children: list[Object] = []
    related = [node(NODE, {"kaito.sh/machine-uid": "m"})]
    found = []
    for name in ("new", "checked", "node ready", "tuned", "served"):
        body = wire(parent, children, related)
        found.append(Moment(name, body))
        answer = ask(body)
        parent["status"] = {"observedGeneration": 1, **answer["status"]}
        children, related = _observe(parent, answer["children"])
    return [moment for moment in found if moment.name in ("checked", "served")]


def wire(parent: Object, children: list[Object], related: list[Object]) -> bytes:
    """As Go writes it: without spaces, and with the managed fields of every object."""
    body = request(_managed(parent), list(map(_managed, children)), list(map(_managed, related)))
    text = (ROOT / "manifests/base/workspace-hook/controller.yaml").read_text(encoding="utf-8")
    body["controller"] = _managed(yaml.safe_load(text))
    return json.dumps(body, separators=(",", ":")).encode()


def _observe(parent: Object, children: list[Object]) -> tuple[list[Object], list[Object]]:
    """The children and pods as the API server shows them when all that can be done is done."""
    seen, related = [], [node(NODE, {"kaito.sh/machine-uid": "m"})]
    for child in children:
        if child["kind"] == "Machine":
            ready = ready_machine(parent, child["metadata"]["name"], NODE)
            seen.append(merged(as_observed(child), {"status": ready["status"]}))
        elif child["kind"] == "Job":
            seen.append(complete_job(child))
            related.append(_pod(parent, child))
        elif child["kind"] == "Deployment":
            seen.append(as_observed(child, status=_rolled_out()))
            related.append(_pod(parent, child))
        else:
            seen.append(as_observed(child))
    return seen, related


def _pod(parent: Object, owner: Object) -> Object:
    digest = {"image": parent["tuning"]["output"]["image"], "digest": "sha256:" + "9" * 64}
    ends = [
        ("check", 0, {"rows": 1}),
        ("train", 0, {"steps": 1}),
        ("docker-sidecar", 0, digest),
    ]
    serves = owner["kind"] == "Deployment"
    pod = pod_of(owner, phase="Running") if serves else pod_of(owner, *ends)
    # A Job and a Deployment may have the same name.
    name = f"{owner['metadata']['name']}-{owner['kind'].lower()}-x7k2p"
    spec = owner["spec"]["template"]["spec"]
    return merged(pod, {"metadata": {"name": name}, "spec": spec})


def _rolled_out() -> Object:
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": 1, **dict.fromkeys(counts, 1)}


def _managed(item: Object) -> Object:
    """With the entry that says who wrote each field."""
    fields = {key: item[key] for key in item if key not in ("apiVersion", "kind", "status")}
    entry = {
        "manager": "metacontroller",
        "operation": "Update",
        "apiVersion": item["apiVersion"],
        "time": "2026-11-02T09:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": _fields(fields),
    }
    status = {**entry, "subresource": "status", "fieldsV1": _fields({"status": item.get("status")})}
    return merged(item, {"metadata": {"managedFields": [entry, status]}})


def _fields(value: Any) -> Object:
    """Names of fields, and of list items that have a name."""
    if isinstance(value, dict):
        return {f"f:{key}": _fields(each) for key, each in value.items()}
    if isinstance(value, list):
        named = [each for each in value if isinstance(each, dict) and "name" in each]
        return {f'k:{{"name":"{each["name"]}"}}': {".": {}, **_fields(each)} for each in named}
    return {}
