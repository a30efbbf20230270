"""Workspaces that were stored under the CRD of Kaito v0.3.0, after ours has taken its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import binaries
from tests.e2e.control_plane import ControlPlane
from tests.e2e.install import ROOT, kubectl, wait_for_kinds
from tests.harness.api_connection import Connection
from tests.harness.builders import merged
from tests.harness.story import INFERENCE, TUNING

BEFORE = Path(__file__).parent / "workspaces-v0.3.0.yaml"
PATH = "/apis/kaito.sh/v1alpha1/namespaces/default/workspaces"
FINALIZER = "workspace.finalizer.kaito.sh"
SELECTOR = {"labelSelector": {"matchLabels": {"app": "a"}}}
TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "registry.example/c:1"}]}}
STORED: dict[str, dict[str, Any]] = {
    "a-tuning": {"resource": TUNING["resource"], "tuning": TUNING["tuning"]},
    "a-preset": {"resource": INFERENCE["resource"], "inference": INFERENCE["inference"]},
    "a-template": {"resource": SELECTOR, "inference": {"template": TEMPLATE}},
    "a-method-in-capitals": {
        "resource": SELECTOR,
        "tuning": merged(TUNING["tuning"], {"method": "QLoRA"}),
    },
    "a-name-that-was-long-enough-for-everything-that-came-before-us": {
        "resource": SELECTOR,
        "inference": INFERENCE["inference"],
    },
    "neither": {"resource": SELECTOR},
    "both": {"resource": SELECTOR, "tuning": TUNING["tuning"], "inference": INFERENCE["inference"]},
    "no-gpus": {"resource": {**SELECTOR, "count": 0}, "inference": INFERENCE["inference"]},
    "an-image-without-tag": {
        "resource": SELECTOR,
        "tuning": merged(TUNING["tuning"], {"output": {"image": "registry"}}),
    },
}
STATUS = {
    "workerNodes": ["aks-node-0"],
    "conditions": [
        {
            "type": "ResourceReady",
            "status": "True",
            "reason": "workspaceResourceStatusSuccess",
            "message": "",
            "lastTransitionTime": "2026-11-02T09:00:00Z",
            "observedGeneration": 1,
        }
    ],
}


@pytest.fixture(scope="module")
def upgraded() -> Iterator[tuple[Connection, dict[str, Any]]]:
    """A control plane of its own, and the objects as they were before."""
    plane = ControlPlane(binaries.find()).start()
    try:
        kubectl(plane, "apply", "--server-side", "-f", BEFORE)
        wait_for_kinds(plane)
        api = Connection(plane.kubeconfig)
        before = {name: _store(api, name, fields) for name, fields in STORED.items()}
        forced = ("--server-side", "--force-conflicts")
        kubectl(plane, "apply", *forced, "-k", ROOT / "crds")
        wait_for_kinds(plane)
        _wait_for_our_columns(plane)
        yield api, before
    finally:
        plane.stop()


def _store(api: Connection, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "finalizers": [FINALIZER]}
    whole = {"apiVersion": "kaito.sh/v1alpha1", "kind": "Workspace", "metadata": metadata, **fields}
    stored = api.request("POST", PATH, whole)
    stored["status"] = STATUS
    return dict(api.request("PUT", f"{PATH}/{name}/status", stored))


def _wait_for_our_columns(plane: ControlPlane) -> None:
    """The API server serves the new schema a moment after it was written."""
    path = "/openapi/v3/apis/kaito.sh/v1alpha1"
    plane.wait_for(
        "kube-apiserver", lambda: "maxHourlyCost" in kubectl(plane, "get", "--raw", path)
    )


@pytest.mark.parametrize("name", STORED)
def test_it_reads_as_it_was_written(upgraded: Any, name: str) -> None:
    api, before = upgraded
    found = api.request("GET", f"{PATH}/{name}")
    for part in STORED[name]:
        assert merged(found[part], before[name][part]) == found[part], part
    assert merged(found["status"], STATUS) == found["status"]


@pytest.mark.parametrize("name", STORED)
def test_its_status_is_written_and_it_goes(upgraded: Any, name: str) -> None:
    """What Metacontroller does: its finalizer, a status, and the finalizers away again."""
    api, _ = upgraded
    found = api.request("GET", f"{PATH}/{name}")
    found["metadata"]["finalizers"].append("metacontroller.io/compositecontroller-kaito-workspace")
    found = api.request("PUT", f"{PATH}/{name}", found)
    found["status"]["workerNodes"] = []
    found = api.request("PUT", f"{PATH}/{name}/status", found)
    api.request("DELETE", f"{PATH}/{name}")
    found = api.request("GET", f"{PATH}/{name}")
    found["metadata"]["finalizers"] = []
    api.request("PUT", f"{PATH}/{name}", found)
    assert name not in {item["metadata"]["name"] for item in api.request("GET", PATH)["items"]}
