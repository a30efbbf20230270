"""The whole loop: checked, its node, tuned, pushed, served; and nothing left at the end."""

from __future__ import annotations

import pytest

from tests.harness.builders import merged
from tests.harness.story import DIGEST, INFERENCE, NAME, SERVED, TUNING, Story


def test_a_workspace_is_tuned_pushed_and_served(story: Story) -> None:
    story.apply(TUNING)
    story.soon(lambda: story.words()[0] in ("CheckPending", "CheckRunning"))
    assert story.machines() == []
    story.check_succeeds()
    machine = story.machine()
    assert story.words()[0] != "CheckSucceeded"
    story.nodes_come()
    assert story.pools() == [machine]
    assert story.get("Workspace", NAME)["status"]["workerNodes"]
    story.tunes()
    story.becomes("TuningSucceeded")
    assert story.get("Workspace", NAME)["status"]["tuning"]["digest"] == DIGEST
    story.serves()
    story.says("WorkspaceReady")
    for type_ in (
        "MachineReady",
        "ResourceReady",
        "JobStarted",
        "TuningSucceeded",
        "InferenceReady",
        "AdapterVerified",
        "Ready",
    ):
        assert story.is_true(NAME, type_), type_
    assert story.machines() == [machine], "the same node tunes and serves"
    story.is_a_fixed_point()
    story.deleted()


def test_a_preset_is_served_without_tuning(story: Story) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    assert story.condition(SERVED, "AdapterVerified")["status"] is None
    story.is_a_fixed_point()
    story.deleted(SERVED)


def test_without_serving_the_node_goes_after_the_push(story: Story) -> None:
    story.apply(merged(TUNING, {"tuning": {"serve": False}}))
    story.check_succeeds()
    story.nodes_come()
    story.tunes()
    story.becomes("WorkspaceReady")
    story.run_until(lambda: not story.machines())
    assert story.pools() == []
    assert story.find("Job", NAME) is not None
    story.is_a_fixed_point()
    story.deleted()


def test_a_second_workspace_with_the_same_selector_gets_a_node_of_its_own(story: Story) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    other = merged(TUNING, {"metadata": {"name": "other"}})
    story.apply(other)
    story.becomes_ready("other")
    assert len(story.machines()) == 2
    assert len(story.pools()) == 2
    first, second = (
        story.get("Workspace", name)["status"]["workerNodes"] for name in (NAME, "other")
    )
    assert set(first).isdisjoint(second)


def test_a_free_node_is_used_before_one_is_bought(story: Story) -> None:
    story.add_node(
        "own-0",
        gpus=1,
        labels={"app": "tuning-phi-3", "node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3"},
    )
    story.apply(TUNING)
    story.becomes_ready()
    assert story.machines() == []
    assert story.azure.count("PUT") == 0
    assert story.get("Workspace", NAME)["status"]["workerNodes"] == ["own-0"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
@pytest.mark.parametrize(
    "phase", ["applied", "checking", "provisioning", "tuning", "pushing", "serving", "failed"]
)
def test_deletion_leaves_nothing_in_every_phase(story: Story, phase: str, propagation: str) -> None:
    story.apply(TUNING)
    if phase == "checking":
        story.kubelet.start(story.pod(f"{NAME}-check"))
    if phase in ("provisioning", "tuning", "pushing", "serving", "failed"):
        story.check_succeeds()
    if phase in ("tuning", "pushing", "serving", "failed"):
        story.nodes_come()
    if phase in ("tuning", "pushing", "failed"):
        pod = story.pod(NAME)
        story.kubelet.start(pod)
        if phase == "failed":
            story.kubelet.fail(
                pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"}
            )
        if phase == "pushing":
            for container in ("weights", "data", "train"):
                story.kubelet.succeed(pod, container)
    if phase == "serving":
        story.tunes()
    story.deleted(propagation=propagation)
