"""The whole loop: checked, its node, tuned, pushed, served; and nothing left at the end."""

from __future__ import annotations

import pytest

from tests.harness.builders import merged
from tests.harness.story import DIGEST, INFERENCE, NAME, SERVED, TUNING, Story


def test_a_workspace_is_tuned_pushed_and_served(world: Story) -> None:
    world.apply(TUNING)
    world.soon(lambda: world.words()[0] in ("CheckPending", "CheckRunning"))
    assert world.machines() == []
    world.check_succeeds()
    machine = world.machine()
    assert world.words()[0] != "CheckSucceeded"
    world.nodes_come()
    assert world.pools() == [machine]
    assert world.get("Workspace", NAME)["status"]["workerNodes"]
    world.tunes()
    world.becomes("TuningSucceeded")
    assert world.get("Workspace", NAME)["status"]["tuning"]["digest"] == DIGEST
    world.serves()
    world.says("WorkspaceReady")
    for type_ in (
        "MachineReady",
        "ResourceReady",
        "JobStarted",
        "TuningSucceeded",
        "InferenceReady",
        "Ready",
    ):
        assert world.is_true(NAME, type_), type_
    assert world.machines() == [machine], "the same node tunes and serves"
    world.is_a_fixed_point()
    world.deleted()


def test_a_preset_is_served_without_tuning(world: Story) -> None:
    world.apply(INFERENCE)
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    world.is_a_fixed_point()
    world.deleted(SERVED)


def test_without_serving_the_node_goes_after_the_push(world: Story) -> None:
    world.apply(merged(TUNING, {"tuning": {"serve": False}}))
    world.check_succeeds()
    world.nodes_come()
    world.tunes()
    world.becomes("WorkspaceReady")
    world.run_until(lambda: not world.machines())
    assert world.pools() == []
    assert world.find("Job", NAME) is not None
    world.is_a_fixed_point()
    world.deleted()


def test_a_second_workspace_with_the_same_selector_gets_a_node_of_its_own(world: Story) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    other = merged(TUNING, {"metadata": {"name": "other"}})
    world.apply(other)
    world.becomes_ready("other")
    assert len(world.machines()) == 2
    assert len(world.pools()) == 2
    first, second = (
        world.get("Workspace", name)["status"]["workerNodes"] for name in (NAME, "other")
    )
    assert set(first).isdisjoint(second)


def test_a_free_node_is_used_before_one_is_bought(world: Story) -> None:
    world.add_node(
        "own-0",
        gpus=1,
        labels={"app": "tuning-phi-3", "node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3"},
    )
    world.apply(TUNING)
    world.becomes_ready()
    assert world.machines() == []
    assert world.azure.count("PUT") == 0
    assert world.get("Workspace", NAME)["status"]["workerNodes"] == ["own-0"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
@pytest.mark.parametrize(
    "phase", ["applied", "checking", "provisioning", "tuning", "pushing", "serving", "failed"]
)
def test_deletion_leaves_nothing_in_every_phase(world: Story, phase: str, propagation: str) -> None:
    world.apply(TUNING)
    if phase == "checking":
        world.kubelet.start(world.pod(f"{NAME}-check"))
    if phase in ("provisioning", "tuning", "pushing", "serving", "failed"):
        world.check_succeeds()
    if phase in ("tuning", "pushing", "serving", "failed"):
        world.nodes_come()
    if phase in ("tuning", "pushing", "failed"):
        pod = world.pod(NAME)
        world.kubelet.start(pod)
        if phase == "failed":
            world.kubelet.fail(
                pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"}
            )
        if phase == "pushing":
            for container in ("weights", "data", "train"):
                world.kubelet.succeed(pod, container)
    if phase == "serving":
        world.tunes()
    world.deleted(propagation=propagation)
