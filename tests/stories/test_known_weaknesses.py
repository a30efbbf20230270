"""What Kaito v0.3.0 was measured to miss on a real API server, and what a user of ours reads instead.

Its other measured weaknesses have their stories where they belong: test_many.py, test_by_hand.py, test_failures.py.
"""

from __future__ import annotations

from tests.harness.builders import merged
from tests.harness.story import INFERENCE, SERVED, Story

SIZE = INFERENCE["resource"]["instanceType"]
SELECTED = INFERENCE["resource"]["labelSelector"]["matchLabels"]
ON_THE_DESK = {"desk": "north", "node.kubernetes.io/instance-type": SIZE}


def test_a_size_that_is_not_offered_is_one_machine_and_not_asked_for_again(world: Story) -> None:
    world.arm.compute.not_offered = {SIZE}
    world.apply(INFERENCE)
    world.run_until(lambda: world.words(SERVED)[0] == "SkuNotAvailable")
    assert "choose another `resource.instanceType`" in world.words(SERVED)[1]
    world.let_resyncs_pass()
    # Two, when a call had the Machine as it was before the answer.
    asked = world.azure.count("PUT")
    for _ in range(3):
        world.let_resyncs_pass()
    assert len(world.machines()) == 1
    assert world.azure.count("PUT") == asked
    world.deleted(SERVED)


def test_a_pod_that_is_no_longer_ready_is_told_until_it_is(world: Story) -> None:
    world.apply(INFERENCE)
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    (pod,) = world.pods(SERVED)
    world.kubelet.unready(pod, SERVED)
    world.becomes("WorkspaceReady", SERVED, status=False)
    assert f"kubectl logs deployment/{SERVED} -n {world.namespace}" in world.says(
        "InferenceNotAnswering", SERVED
    )
    world.kubelet.ready(pod, SERVED)
    world.becomes("WorkspaceReady", SERVED)


def test_a_selector_of_match_expressions_chooses_the_node(world: Story) -> None:
    world.add_node("south-0", gpus=2, labels={**ON_THE_DESK, "desk": "south"})
    world.add_node("north-0", gpus=2, labels=ON_THE_DESK)
    desk = {"key": "desk", "operator": "In", "values": ["north"]}
    selector = {"matchLabels": None, "matchExpressions": [desk]}
    world.apply(merged(INFERENCE, {"resource": {"labelSelector": selector}}))
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    assert world.get("Workspace", SERVED)["status"]["workerNodes"] == ["north-0"]
    assert world.machines() == []


def test_two_workspaces_that_share_an_own_node_take_turns_on_its_gpus(world: Story) -> None:
    world.add_node("north-0", gpus=1, labels={**ON_THE_DESK, **SELECTED})
    for each in ("first", "second"):
        world.apply(merged(INFERENCE, {"metadata": {"name": each}}))
        world.nodes_come(each)
        if each == "first":
            world.serves(each, tuned=False)
            world.becomes("WorkspaceReady", each)
    assert "nvidia.com/gpu" in world.says("Unschedulable", "second")
    assert world.is_true("first", "WorkspaceReady")
    world.delete("Workspace", "first")
    world.serves("second", tuned=False)
    world.becomes("WorkspaceReady", "second")
    assert world.machines() == []
    assert world.azure.count("PUT") == 0
