"""A serving pod that waits for the Secret of its API keys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, of, ready
from tests.harness.builders import as_observed, condition, merged, pod_of, ready_machine
from tests.unit.workspace.test_client_access import ALL, RATE, SERVED, annotated
from tests.unit.workspace.test_tuning import rolled_out

BOUND_EARLY = condition("PodScheduled", "True", since="2026-11-02T09:29:00Z")
BOUND_NOW = condition("PodScheduled", "True", since="2026-11-02T09:29:50Z")
WAITING = {"name": "weights", "state": {"waiting": {"reason": "PodInitializing"}}}


def starting(
    sync: Any, conditions: list[Any], containers: list[Any], annotations: dict[str, str] = ALL
) -> dict[str, Any]:
    """What is said of a Deployment whose pod is like this."""
    workspace = annotated(SERVED, annotations)
    nodes = [ready_machine(SERVED, "ws1"), as_observed(child(sync(workspace), "Service"))]
    deployment = child(sync(workspace, nodes), "Deployment")
    status = {**rolled_out(1), "readyReplicas": 0, "availableReplicas": 0}
    pod = merged(
        pod_of(deployment, phase="Pending"),
        {"status": {"conditions": conditions, "initContainerStatuses": containers}},
    )
    return dict(sync(workspace, [*nodes, as_observed(deployment, status=status)], [pod]))


def test_a_pod_that_does_not_get_its_keys_says_what_is_missing(sync: Any) -> None:
    answer = starting(sync, [BOUND_EARLY], [WAITING])
    status, reason, message = of(answer, "InferenceReady")
    assert (status, reason) == ("False", "ApiKeysNotMounted")
    assert "The Secret 'chat-keys' (`kaito.sh/api-keys-secret`) must be there" in message
    create = "kubectl create secret generic chat-keys -n ml-team --from-file=api-keys"
    assert create in message
    assert "kubectl describe pod workspace-falcon-7b-x7k2p -n ml-team" in message
    assert ready(answer)[1] == reason
    assert of(answer, "Reconciling")[0] == "True"


LOADING = "InferenceLoading"
OTHERS: list[tuple[str, list[Any], list[Any], dict[str, str], str]] = [
    ("just bound", [BOUND_NOW], [WAITING], ALL, LOADING),
    ("held back", [condition("PodScheduled", "False", "SchedulingGated")], [], ALL, LOADING),
    ("without keys", [BOUND_EARLY], [WAITING], {RATE: "60"}, LOADING),
    (
        "its volumes are mounted",
        [BOUND_EARLY, condition("PodReadyToStartContainers", "True")],
        [WAITING],
        ALL,
        LOADING,
    ),
    ("no status yet", [BOUND_EARLY], [], ALL, "ApiKeysNotMounted"),
    (
        "a volume is not mounted, in the words of a newer kubelet",
        [BOUND_EARLY, condition("PodReadyToStartContainers", "False")],
        [WAITING],
        ALL,
        "ApiKeysNotMounted",
    ),
    (
        "the weights are pulled",
        [BOUND_EARLY],
        [{"name": "weights", "state": {"running": {}}}],
        ALL,
        LOADING,
    ),
    (
        "an image is not pulled",
        [BOUND_EARLY],
        [{"name": "weights", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
        ALL,
        "ImagePullFailed",
    ),
    (
        "no node takes it",
        [condition("PodScheduled", "False", "Unschedulable", "0/1 nodes")],
        [],
        ALL,
        "Unschedulable",
    ),
]


@pytest.mark.parametrize(
    ("conditions", "containers", "annotations", "reason"),
    [row[1:] for row in OTHERS],
    ids=[row[0] for row in OTHERS],
)
def test_whatever_else_a_pod_waits_for_is_told_as_it_is(
    sync: Any,
    conditions: list[Any],
    containers: list[Any],
    annotations: dict[str, str],
    reason: str,
) -> None:
    assert of(starting(sync, conditions, containers, annotations), "InferenceReady")[1] == reason


def test_the_hook_looks_again_when_the_pod_should_have_its_keys(sync: Any) -> None:
    """No event tells of a volume that is not mounted."""
    assert starting(sync, [BOUND_NOW], [WAITING])["resyncAfterSeconds"] == 21
    assert "resyncAfterSeconds" not in starting(sync, [BOUND_NOW], [WAITING], {RATE: "60"})
