"""A node that nobody uses is told, given back, and asked for again when the owner says so."""

from __future__ import annotations

from datetime import timedelta

from tests.harness.story import INFERENCE, NAME, SERVED, TUNING, Story

SERVING = {"app.kubernetes.io/component": "inference"}


def retry(world: Story, name: str) -> None:
    """What the message says."""
    world.edit(
        "Workspace",
        name,
        lambda item: (
            item["metadata"].setdefault("annotations", {}).update({"kaito.sh/retry": "1766"})
        ),
    )


def half_an_hour_passes(world: Story) -> None:
    """Metacontroller's own timer can't be leapt over: one that is started again asks at once."""
    begin = world.clock.now()
    world.run_until(lambda: world.clock.now() - begin > timedelta(minutes=31))
    world.stop_metacontroller()
    world.start_metacontroller()


def test_a_node_whose_model_has_no_image_is_given_back(world: Story) -> None:
    world.apply(INFERENCE)
    world.nodes_come(SERVED)
    world.kubelet.refuse_image(world.pod(SERVED, **SERVING), "manifest unknown")
    words = world.says("ImagePullFailed", SERVED)
    assert "manifest unknown" in words
    assert (
        "The node is paid for and serves nobody; unless that changes, it is given back at" in words
    )
    half_an_hour_passes(world)
    world.run_until(lambda: world.words(SERVED)[0] == "IdleNodesReleased")
    assert "manifest unknown" in world.words(SERVED)[1]
    world.run_until(lambda: not world.machines() and not world.pools())
    world.becomes("Stalled", SERVED)
    world.is_a_fixed_point()
    retry(world, SERVED)
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    world.deleted(SERVED)


def test_a_tuning_whose_image_does_not_come_gives_its_node_back(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    pod = world.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    world.kubelet.refuse_image(pod, "manifest unknown")
    half_an_hour_passes(world)
    world.run_until(lambda: world.words()[0] == "IdleNodesReleased")
    world.run_until(lambda: not world.machines() and not world.pools())
    world.is_a_fixed_point()
    retry(world, NAME)
    world.becomes_ready()


def test_a_model_that_was_served_and_whose_pod_finds_no_room_is_given_back_last(
    world: Story,
) -> None:
    world.apply(INFERENCE)
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    world.let_resyncs_pass()
    machine = world.machine()
    world.kubelet.evict(world.pod(SERVED, **SERVING))
    world.run_until(lambda: len(world.pods(SERVED, **SERVING)) == 1)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)
    assert world.machine() == machine
