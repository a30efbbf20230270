"""Stories that wait for minutes or hours: in virtual time only."""

from __future__ import annotations

from tests.harness.story import NAME, TUNING, Story

INFERENCE_PODS = {"app.kubernetes.io/component": "inference"}


def test_a_node_that_is_lost_is_replaced_and_the_model_served_again(world: Story) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    (machine,) = world.machines()
    (node,) = world.get("Workspace", NAME)["status"]["workerNodes"]
    old = world.pod(NAME, **INFERENCE_PODS)
    world.remove_node(node)
    world.run_until(lambda: not world.is_true(NAME, "ResourceReady"))
    assert not world.is_true(NAME, "WorkspaceReady")
    world.run_until(
        lambda: world.machines() not in ([machine], []) and machine not in world.machines(),
        within=7200,
    )
    world.nodes_come()
    world.run_until(lambda: world.is_replaced(old, NAME, **INFERENCE_PODS))
    world.serves()
    world.becomes("WorkspaceReady")
    assert world.find("Job", NAME) is not None
    assert len(world.pools()) == 1
    world.deleted()
