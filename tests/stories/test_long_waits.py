"""Stories that wait for minutes or hours: in virtual time only."""

from __future__ import annotations

from tests.harness.story import NAME, TUNING, Story

INFERENCE_PODS = {"app.kubernetes.io/component": "inference"}


def test_a_node_that_is_lost_is_replaced_and_the_model_served_again(story: Story) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    (machine,) = story.machines()
    (node,) = story.get("Workspace", NAME)["status"]["workerNodes"]
    old = story.pod(NAME, **INFERENCE_PODS)
    story.remove_node(node)
    story.run_until(lambda: not story.is_true(NAME, "ResourceReady"))
    assert not story.is_true(NAME, "WorkspaceReady")
    story.run_until(
        lambda: story.machines() not in ([machine], []) and machine not in story.machines(),
        within=7200,
    )
    story.nodes_come()
    story.run_until(lambda: story.is_replaced(old, NAME, **INFERENCE_PODS))
    story.serves()
    story.becomes("WorkspaceReady")
    assert story.find("Job", NAME) is not None
    assert len(story.pools()) == 1
    story.deleted()
