"""A node that is paid for and serves nobody is told, and given back when its time is up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app

from tests.harness import wire
from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    NOW,
    as_observed,
    condition,
    inference_workspace,
    merged,
    pod_of,
    ready_machine,
    request,
)

WORKSPACE = inference_workspace()
NAME = WORKSPACE["metadata"]["name"]
JOINED = NOW - timedelta(hours=9)


class Clocked:
    """A hook whose clock the test sets; the status goes back in as Metacontroller writes it."""

    def __init__(self, minutes: int = 30) -> None:
        self.now = NOW
        settings = WorkspaceSettings(
            preset_registry="mcr.microsoft.com/aks/kaito",
            transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
            tuning_image="ghcr.io/kaito-python/tuning:0.1.0",
            inference_image="ghcr.io/kaito-python/inference:0.1.0",
            compute_capabilities=("7.0", "8.0"),
            idle_node_minutes=minutes,
        )
        app = create_workspace_app(settings, now=lambda: self.now)
        self.client: FlaskClient = app.test_client()
        self.status: dict[str, Any] = {}
        self.parent = WORKSPACE

    def sees(self, children: list[Any], pods: list[Any], after: int = 0) -> dict[str, Any]:
        """The answer so many minutes later."""
        self.now += timedelta(minutes=after)
        body = request({**self.parent, "status": self.status}, children, pods)
        answer = self.client.post("/workspace/sync", json=body)
        wire.check("/workspace/sync", body, answer.status_code, answer.data)
        found: dict[str, Any] = answer.get_json()
        self.status = found["status"]
        return found


def at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MACHINE = ready_machine(
    WORKSPACE,
    "ws0",
    status={
        "conditions": [
            condition("MachineRegistered", "True", since=at(JOINED)),
            condition("Ready", "True", "Ready", since=at(JOINED)),
        ]
    },
)


def with_deployment(hook: Clocked, **status: Any) -> list[Any]:
    service = as_observed(child(hook.sees([], []), "Service"))
    made = child(hook.sees([service, MACHINE], []), "Deployment")
    return [service, MACHINE, as_observed(made, status=status)]


def pod_with(children: list[Any], *statuses: dict[str, Any], **conditions: Any) -> dict[str, Any]:
    pod = pod_of(children[-1], phase="Pending")
    pod["status"]["containerStatuses"] = list(statuses)
    pod["status"] |= conditions
    return pod


UNSCHEDULABLE = {
    "conditions": [
        condition(
            "PodScheduled", "False", "Unschedulable", "0/3 nodes: Insufficient nvidia.com/gpu"
        )
    ]
}
NO_IMAGE = {
    "name": NAME,
    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}},
}
CRASHES = {
    "name": NAME,
    "restartCount": 7,
    "ready": False,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "boom", "finishedAt": at(NOW)}},
}
LOADING = {
    "name": NAME,
    "restartCount": 0,
    "ready": False,
    "state": {"running": {"startedAt": at(NOW)}},
}
REFUSED = {
    "conditions": [
        condition("ReplicaFailure", "True", "FailedCreate", "pods is forbidden: exceeded quota: q")
    ]
}
TROUBLES = [
    ("no room on the node", {}, lambda c: [pod_with(c, **UNSCHEDULABLE)], "Unschedulable"),
    ("no image", {}, lambda c: [pod_with(c, NO_IMAGE)], "ImagePullFailed"),
    ("a crash loop", {}, lambda c: [pod_with(c, CRASHES)], "ContainerCrashed"),
    ("a pod that is refused", REFUSED, lambda c: [], "PodRefused"),
]


@pytest.mark.parametrize(
    ("status", "pods", "reason"), [row[1:] for row in TROUBLES], ids=[row[0] for row in TROUBLES]
)
def test_the_owner_is_told_and_then_the_node_is_given_back(
    status: dict[str, Any], pods: Any, reason: str
) -> None:
    hook = Clocked()
    children = with_deployment(hook, **status)
    answer = hook.sees(children, pods(children))
    assert ready(answer)[1] == reason
    assert f"given back at {at(NOW + timedelta(minutes=30))}" in ready(answer)[2]
    assert 1 <= answer["resyncAfterSeconds"] <= 1801
    assert "Machine" in dict(kinds(hook.sees(children, pods(children), after=29)))
    told = hook.sees(children, pods(children), after=1)
    assert told["status"]["nodesReleased"]["time"] == at(hook.now)
    assert "Machine" in dict(
        kinds(told)
    )  # It goes once the status is read back: else it might be bought again.
    over = hook.sees(children, pods(children))
    assert ready(told)[:2] == ready(over)[:2]
    assert ready(over)[1] == "IdleNodesReleased"
    assert f"kubectl annotate workspace {NAME} -n ml-team kaito.sh/retry=" in ready(over)[2]
    assert "Machine" not in dict(kinds(over))
    assert child(over, "Deployment")["spec"]["replicas"] == 0
    assert of(over, "InferenceReady")[1] == reason
    assert of(over, "Stalled")[0] == "True"
    again = hook.sees([item for item in children if item["kind"] != "Machine"], [], after=600)
    assert ready(again) == ready(over)
    assert "Machine" not in dict(kinds(again))


def test_a_deployment_at_rest_is_not_said_to_answer() -> None:
    hook, children = released()
    over = hook.sees(children, [])
    none = {"observedGeneration": 1, "replicas": 0, "updatedReplicas": 0, "readyReplicas": 0}
    at_rest = as_observed(child(over, "Deployment"), status=none)
    answer = hook.sees([children[0], at_rest], [], after=5)
    assert of(answer, "InferenceReady")[:2] == ("False", "ImagePullFailed")
    assert "endpoint" not in answer["status"]


def released() -> tuple[Clocked, list[Any]]:
    hook = Clocked()
    children = with_deployment(hook)
    pods = [pod_with(children, NO_IMAGE)]
    hook.sees(children, pods)
    hook.sees(children, pods, after=31)
    return hook, [item for item in children if item["kind"] != "Machine"]


@pytest.mark.parametrize(
    ("change", "is_tried"),
    [
        ({"metadata": {"annotations": {"kaito.sh/retry": "1766"}}}, True),
        ({"metadata": {"generation": 2}}, True),
        ({"metadata": {"annotations": {"team": "ml"}}}, False),
    ],
)
def test_a_node_is_asked_for_again_when_the_owner_says_so(
    change: dict[str, Any], is_tried: bool
) -> None:
    hook, children = released()
    hook.parent = merged(WORKSPACE, change)
    assert ("Machine" in dict(kinds(hook.sees(children, [])))) == is_tried


def test_taking_the_annotation_away_asks_for_nothing() -> None:
    hook = Clocked()
    hook.parent = merged(WORKSPACE, {"metadata": {"annotations": {"kaito.sh/retry": "1"}}})
    children = with_deployment(hook)
    pods = [pod_with(children, NO_IMAGE)]
    hook.sees(children, pods)
    hook.sees(children, pods, after=31)
    hook.parent = WORKSPACE
    without = [item for item in children if item["kind"] != "Machine"]
    assert "Machine" not in dict(kinds(hook.sees(without, [])))


def test_a_model_that_is_being_loaded_uses_its_node() -> None:
    hook = Clocked()
    children = with_deployment(hook)
    hook.sees(children, [pod_with(children, LOADING)])
    answer = hook.sees(children, [pod_with(children, LOADING)], after=90)
    assert ready(answer)[1] == "InferenceLoading"
    assert "Machine" in dict(kinds(answer))


def test_a_pod_whose_image_takes_long_is_waited_for_without_asking_again_and_again() -> None:
    hook = Clocked()
    children = with_deployment(hook)
    creating = {"name": NAME, "state": {"waiting": {"reason": "ContainerCreating"}}}
    hook.sees(children, [pod_with(children, creating)])
    answer = hook.sees(children, [pod_with(children, creating)], after=90)
    assert ready(answer)[1] == "InferenceLoading"
    assert "Machine" in dict(kinds(answer))
    assert "resyncAfterSeconds" not in answer


def test_with_0_nothing_is_ever_given_back() -> None:
    hook = Clocked(minutes=0)
    children = with_deployment(hook)
    pods = [pod_with(children, NO_IMAGE)]
    hook.sees(children, pods)
    answer = hook.sees(children, pods, after=6000)
    assert "Machine" in dict(kinds(answer))
    assert ready(answer)[2].endswith("The node is paid for and serves nobody.")


def test_a_node_that_offers_no_gpu_is_given_back() -> None:
    hook = Clocked()
    lacking = merged(
        MACHINE,
        {
            "status": {
                "conditions": [
                    condition("MachineRegistered", "True", since=at(NOW)),
                    condition("Ready", "False", "ResourceNotRegistered", "It offers no GPU"),
                ]
            }
        },
    )
    service = as_observed(child(hook.sees([], []), "Service"))
    told = hook.sees([service, lacking], [])
    assert ready(told)[1] == "ResourceNotRegistered"
    assert "given back at" in ready(told)[2]
    assert ready(hook.sees([service, lacking], [], after=31))[1] == "IdleNodesReleased"


def test_a_node_of_ones_own_is_nobodys_to_give_back() -> None:
    hook = Clocked()
    size = WORKSPACE["resource"]["instanceType"]
    labels = {"apps": "falcon-7b", "node.kubernetes.io/instance-type": size}
    own = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gpu-0", "labels": labels},
        "status": {"conditions": [condition("Ready", "True")]},
    }
    service = as_observed(child(hook.sees([], []), "Service"))
    deployment = as_observed(child(hook.sees([service], [own]), "Deployment"))
    children = [service, deployment]
    answer = hook.sees(children, [own, pod_with(children, NO_IMAGE)], after=600)
    assert ready(answer)[1] == "ImagePullFailed"
    assert "paid for" not in ready(answer)[2]
