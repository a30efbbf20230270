"""Names that somebody else has are told before a node is paid for, and nobody else's object passes for ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    complete_job,
    condition,
    inference_workspace,
    merged,
    pod_of,
    ready_machine,
    tuning_workspace,
)

TUNING, SERVING = tuning_workspace(), inference_workspace()
API = {"Service": "v1", "Deployment": "apps/v1", "Job": "batch/v1"}


def somebody_elses(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    """An object as another team's chart left it."""
    return {
        "apiVersion": API[kind],
        "kind": kind,
        "metadata": {"name": name, "namespace": "ml-team", "uid": "77", **metadata},
        "spec": {"selector": {"app": "legacy-api"}},
    }


def first_children(sync: Any, parent: dict[str, Any]) -> list[dict[str, Any]]:
    return [as_observed(item) for item in sync(parent)["children"]]


@pytest.mark.parametrize(
    ("parent", "kind", "suffix"),
    [
        (SERVING, "Service", ""),
        (SERVING, "Deployment", ""),
        (TUNING, "Service", ""),
        (TUNING, "Deployment", ""),
        (TUNING, "Job", ""),
        (TUNING, "Job", "-check"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["metadata"]["name"],
)
def test_a_foreign_object_is_told_before_anything_is_begun(
    sync: Any, parent: dict[str, Any], kind: str, suffix: str
) -> None:
    name = parent["metadata"]["name"] + suffix
    there = [item for item in first_children(sync, parent) if item["kind"] != kind]
    answer = sync(parent, there, [somebody_elses(kind, name)])
    status, reason, message = ready(answer)
    assert (status, reason) == ("False", "ChildConflict")
    assert f"kubectl describe {kind.lower()} {name} -n ml-team" in message
    assert of(answer, "Stalled")[0] == "True"
    assert not {"Machine", "Job", "Deployment"} & set(dict(kinds(answer)))


def test_a_child_of_ours_that_is_not_among_the_children_yet_is_no_conflict(sync: Any) -> None:
    owner = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Workspace",
        "name": SERVING["metadata"]["name"],
        "uid": SERVING["metadata"]["uid"],
        "controller": True,
    }
    ours = somebody_elses("Service", SERVING["metadata"]["name"], ownerReferences=[owner])
    assert ready(sync(SERVING, related=[ours]))[1] != "ChildConflict"


def served(sync: Any) -> list[dict[str, Any]]:
    there = [*first_children(sync, SERVING), ready_machine(SERVING, "ws0")]
    deployment = child(sync(SERVING, there), "Deployment")
    status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
    return [*there, as_observed(deployment, status=status)]


def test_a_served_workspace_whose_service_is_taken_over_is_not_ready(sync: Any) -> None:
    there = served(sync)
    assert ready(sync(SERVING, there))[0] == "True"
    without = [item for item in there if item["kind"] != "Service"]
    answer = sync(SERVING, without, [somebody_elses("Service", SERVING["metadata"]["name"])])
    assert ready(answer)[:2] == ("False", "ChildConflict")
    assert {"Machine", "Deployment", "Service"} <= set(dict(kinds(answer)))


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"selector": {"app": "legacy-api"}}},
        {"spec": {"selector": {"app.kubernetes.io/component": "tuning"}}},
        {"spec": {"ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}},
    ],
    ids=["another key", "another value", "another port"],
)
def test_a_service_that_was_edited_leads_nowhere_until_it_is_put_back(
    sync: Any, change: dict[str, Any]
) -> None:
    there = [merged(item, change) if item["kind"] == "Service" else item for item in served(sync)]
    answer = sync(SERVING, there)
    assert ready(answer)[:2] == ("Unknown", "InferencePending") or ready(answer)[0] == "False"
    assert of(answer, "InferenceReady")[0] == "Unknown"


def test_what_the_api_server_adds_to_a_service_does_not_count(sync: Any) -> None:
    added = {
        "spec": {
            "clusterIP": "10.0.12.7",
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 5000, "nodePort": 30080},
                {"name": "torch", "port": 29500, "protocol": "TCP", "targetPort": 29500},
            ],
        }
    }  # fmt: skip
    there = [merged(item, added) if item["kind"] == "Service" else item for item in served(sync)]
    assert ready(sync(SERVING, there))[0] == "True"


def test_nothing_is_checked_or_trained_with_a_configuration_that_is_not_ours(sync: Any) -> None:
    service = [item for item in first_children(sync, TUNING) if item["kind"] == "Service"]
    answer = sync(TUNING, service)
    assert "Job" not in dict(kinds(answer))
    assert of(answer, "InputsChecked")[0] == "Unknown"
    assert f"Secret '{TUNING['metadata']['name']}-config'" in ready(answer)[2]
    waiting = condition("InputsChecked", "Unknown", "CheckPending", since="2026-11-02T09:29:00Z")
    late = sync(merged(TUNING, {"status": {"conditions": [waiting]}}), service)
    assert ready(late)[1] == "ChildConflict"
    assert "kubectl get secret workspace-tuning-phi-3-config -n ml-team" in ready(late)[2]


def test_a_secret_that_was_edited_holds_the_training_up_until_it_is_put_back(sync: Any) -> None:
    first = first_children(sync, TUNING)
    check = child(sync(TUNING, first), "Job")
    pod = pod_of(check, ("check", 0, {"rows": 7, "columns": ["messages"], "files": []}))
    there = [*first, complete_job(check), ready_machine(TUNING, "ws0")]
    assert ("Job", TUNING["metadata"]["name"]) in kinds(sync(TUNING, there, [pod]))
    edited = [
        merged(item, {"data": {"training_config.yaml": "dHJhaW5pbmdfY29uZmlnOiB7fQ=="}})
        if item["kind"] == "Secret"
        else item
        for item in there
    ]
    answer = sync(TUNING, edited, [pod])
    assert ("Job", TUNING["metadata"]["name"]) not in kinds(answer)
    assert child(answer, "Secret")["data"] == child(sync(TUNING), "Secret")["data"]
