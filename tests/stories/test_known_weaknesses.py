"""What Kaito v0.3.0 was measured to miss on a real API server, and what a user of ours reads instead.

Its other measured weaknesses have their stories where they belong: test_many.py, test_by_hand.py, test_failures.py.
"""

from __future__ import annotations

from tests.harness.builders import merged
from tests.harness.story import INFERENCE, SERVED, Story

SIZE = INFERENCE["resource"]["instanceType"]
SELECTED = INFERENCE["resource"]["labelSelector"]["matchLabels"]
ON_THE_DESK = {"desk": "north", "node.kubernetes.io/instance-type": SIZE}


def test_a_size_that_is_not_offered_is_one_machine_and_not_asked_for_again(story: Story) -> None:
    story.arm.compute.not_offered = {SIZE}
    story.apply(INFERENCE)
    story.run_until(lambda: story.words(SERVED)[0] == "SkuNotAvailable")
    assert "choose another `resource.instanceType`" in story.words(SERVED)[1]
    story.let_resyncs_pass()
    # Two, when a call had the Machine as it was before the answer.
    asked = story.azure.count("PUT")
    for _ in range(3):
        story.let_resyncs_pass()
    assert len(story.machines()) == 1
    assert story.azure.count("PUT") == asked
    story.deleted(SERVED)


def test_a_pod_that_is_no_longer_ready_is_told_until_it_is(story: Story) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    (pod,) = story.pods(SERVED)
    story.kubelet.unready(pod, SERVED)
    story.becomes("WorkspaceReady", SERVED, status=False)
    assert f"kubectl logs deployment/{SERVED} -n {story.namespace}" in story.says(
        "InferenceNotAnswering", SERVED
    )
    story.kubelet.ready(pod, SERVED)
    story.becomes("WorkspaceReady", SERVED)


def test_a_selector_of_match_expressions_chooses_the_node(story: Story) -> None:
    story.add_node("south-0", gpus=2, labels={**ON_THE_DESK, "desk": "south"})
    story.add_node("north-0", gpus=2, labels=ON_THE_DESK)
    desk = {"key": "desk", "operator": "In", "values": ["north"]}
    selector = {"matchLabels": None, "matchExpressions": [desk]}
    story.apply(merged(INFERENCE, {"resource": {"labelSelector": selector}}))
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    assert story.get("Workspace", SERVED)["status"]["workerNodes"] == ["north-0"]
    assert story.machines() == []


def test_two_workspaces_that_share_an_own_node_take_turns_on_its_gpus(story: Story) -> None:
    story.add_node("north-0", gpus=1, labels={**ON_THE_DESK, **SELECTED})
    for each in ("first", "second"):
        story.apply(merged(INFERENCE, {"metadata": {"name": each}}))
        story.nodes_come(each)
        if each == "first":
            story.serves(each)
            story.becomes("WorkspaceReady", each)
    assert "nvidia.com/gpu" in story.says("Unschedulable", "second")
    assert story.is_true("first", "WorkspaceReady")
    story.delete("Workspace", "first")
    story.serves("second")
    story.becomes("WorkspaceReady", "second")
    assert story.machines() == []
    assert story.azure.count("PUT") == 0
