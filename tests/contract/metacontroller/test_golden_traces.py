"""The loop calls hooks as the real Metacontroller 4.17.2 did on a real API server (recorded traces)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.controllers.deployment import DeploymentController
from kaito_laptop.controllers.garbage import GarbageCollector
from kaito_laptop.controllers.job import JobController
from kaito_laptop.controllers.owned import conditions_with
from kaito_laptop.core.cluster import Key

from tests.harness.metacontroller_fixture import MetacontrollerFixture, composite

GOLDEN = json.loads((Path(__file__).parent / "data/metacontroller-golden.json").read_text())
FINALIZER = "metacontroller.io/compositecontroller-workspace-controller"
ORDER = ["Deployment", "Service", "Job", "Secret", "Machine"]
CHILDREN = [
    ("kaito.sh/v1alpha1", "machines", "InPlace"),
    ("batch/v1", "jobs", "OnDelete"),
    ("apps/v1", "deployments", "InPlace"),
    ("v1", "services", "InPlace"),
    ("v1", "secrets", "InPlace"),
]


def desired() -> Any:
    """The children of the recording, without what Metacontroller and the API server added."""
    steady = GOLDEN["v2.request.sync.steady"]["children"]
    last_applied = "metacontroller.k8s.io/last-applied-configuration"
    found = []
    for group in steady.values():
        for child in group.values():
            manifest = json.loads(child["metadata"]["annotations"][last_applied])
            del manifest["metadata"]["labels"]
            found.append(manifest)
    return found


def observed(request: Any) -> Any:
    return {group: len(objects) for group, objects in request["children"].items()}


def sync(request: Any) -> Any:
    status = {"observed": observed(request), "phase": "Running"}
    return {"status": status, "children": desired()}


def finalize(request: Any) -> Any:
    """Let the children go one by one, as the hook of the recording did."""
    there = {group.split(".")[0] for group, objects in request["children"].items() if objects}
    left = [kind for kind in ORDER if kind in there]
    kept = [each for each in desired() if each["kind"] in left[1:]]
    return {"status": {"phase": "Deleting"}, "children": kept, "finalized": not left}


def customize(request: Any) -> Any:
    rule = {
        "apiVersion": "v1",
        "resource": "nodes",
        "labelSelector": {
            "matchLabels": {"kaito.sh/workspace": request["parent"]["metadata"]["name"]}
        },
    }
    return {"relatedResources": [rule]}


def recorded_cluster(version: str) -> Any:
    fixture = MetacontrollerFixture()
    for controller in (GarbageCollector, DeploymentController, JobController):
        controller(fixture.cluster, fixture.event_loop)
    fixture.hooks.on.update({"/sync": sync, "/fin": finalize, "/cust": customize})
    fixture.cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml-team"}}
    )
    labels = {"kaito.sh/workspace": "phi-2-tuned"}
    node = {"name": "aks-gpu-0", "labels": labels}
    fixture.cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": node})
    hooks = ("sync", "finalize", "customize")
    fixture.cluster.create(composite(CHILDREN, hooks, version))
    fixture.event_loop.settle()
    fixture.workspace("phi-2-tuned", "ml-team")
    fixture.event_loop.settle()
    return fixture


def seen(path: str, request: Any) -> Any:
    entry = {
        "hook": path,
        "finalizing": request.get("finalizing"),
        "related": {group: list(objects) for group, objects in request.get("related", {}).items()},
        "status_in_parent": request["parent"].get("status"),
        "children": None,
    }
    if "children" in request:
        entry["children"] = {group: list(objects) for group, objects in request["children"].items()}
    return entry


def without_repeats(entries: Any) -> Any:
    return entries[:1] + [after for before, after in pairwise(entries) if after != before]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_new_workspace_is_asked_about_as_recorded(version: Any) -> None:
    fixture = recorded_cluster(version)

    calls = [seen(path, request) for path, request in fixture.hooks.calls]

    # The recording ends with repeats: how many depends on the status writes of other controllers.
    golden = GOLDEN[f"{version}.trace.create"]
    assert without_repeats(calls) == without_repeats(golden)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_requests_have_the_recorded_shape(version: Any) -> None:
    fixture = recorded_cluster(version)

    first = fixture.hooks.bodies("/sync")[0]
    golden = GOLDEN[f"{version}.request.sync.first"]
    assert first.keys() == golden.keys()
    assert first["children"] == golden["children"]
    assert first["related"].keys() == golden["related"].keys()
    assert fixture.hooks.bodies("/cust")[0].keys() == GOLDEN[f"{version}.request.customize"].keys()


def test_children_are_defaulted_as_recorded() -> None:
    fixture = recorded_cluster("v2")
    pod_keys = {"status", "metadata"}
    for group, objects in fixture.hooks.bodies("/sync")[-1]["children"].items():
        for key, child in objects.items():
            golden = GOLDEN["v2.request.sync.steady"]["children"][group][key]
            text, uid = json.dumps(golden), golden["metadata"]["uid"]
            golden = json.loads(text.replace(uid, child["metadata"]["uid"]))
            if group == "Service.v1":
                for field in ("clusterIP", "clusterIPs"):
                    del golden["spec"][field], child["spec"][field]
            assert {k: v for k, v in child.items() if k not in pod_keys} == {
                k: v for k, v in golden.items() if k not in pod_keys
            }
            for field in ("generation", "finalizers"):
                assert child["metadata"].get(field) == golden["metadata"].get(field)


def deletion(fixture: MetacontrollerFixture, propagation: Any) -> Any:
    fixture.hooks.calls.clear()
    workspaces = fixture.cluster.resource("kaito.sh/v1alpha1", "Workspace")
    fixture.cluster.delete(Key(workspaces, "phi-2-tuned", "ml-team"), propagation)
    fixture.event_loop.settle()
    return [
        {
            "hook": path,
            "finalizers": request["parent"]["metadata"].get("finalizers"),
            "children": {group: list(each) for group, each in request["children"].items()},
        }
        for path, request in fixture.hooks.calls
        if path == "/fin"
    ]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_background_deletion_is_in_the_hands_of_the_hook_as_recorded(version: Any) -> None:
    fixture = recorded_cluster(version)

    calls = without_repeats(deletion(fixture, "Background"))

    golden = GOLDEN[f"{version}.trace.delete.background"]
    assert calls == [{k: v for k, v in each.items() if k != "finalizing"} for each in golden]
    assert fixture.list("kaito.sh/v1alpha1", "Workspace") == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_foreground_deletion_is_in_the_hands_of_the_garbage_collector_as_recorded(
    version: Any,
) -> None:
    fixture = recorded_cluster(version)

    calls = without_repeats(deletion(fixture, "Foreground"))

    golden = GOLDEN[f"{version}.trace.delete.foreground"]
    assert calls[0] == golden[0]
    assert calls[-1] == golden[-1]
    assert calls[-2]["finalizers"] == golden[-2]["finalizers"]
    for before, after in pairwise(calls):
        for group, names in after["children"].items():
            assert set(names) <= set(before["children"][group])
    assert all(each["finalizers"][-1] == "foregroundDeletion" for each in calls)
    assert fixture.list("kaito.sh/v1alpha1", "Workspace") == []


def test_orphaning_leaves_the_children() -> None:
    fixture = recorded_cluster("v2")

    calls = deletion(fixture, "Orphan")

    assert calls[0]["finalizers"] == [FINALIZER, "orphan"]
    assert len(fixture.list("batch/v1", "Job")) == 1
    assert "ownerReferences" not in fixture.list("batch/v1", "Job")[0]["metadata"]
    assert fixture.list("kaito.sh/v1alpha1", "Workspace") == []


def test_a_condition_keeps_its_time_until_its_status_moves() -> None:
    old = [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]
    same = {"type": "Ready", "status": "True", "reason": "Still"}
    other = {"type": "Ready", "status": "False"}
    assert conditions_with(old, same, "now")[0]["lastTransitionTime"] == "then"
    assert conditions_with(old, other, "now")[0]["lastTransitionTime"] == "now"
