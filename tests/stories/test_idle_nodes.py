"""A node that nobody uses is told, given back, and asked for again when the owner says so."""

from __future__ import annotations

from datetime import timedelta

from tests.harness.story import INFERENCE, NAME, SERVED, TUNING, Story

SERVING = {"app.kubernetes.io/component": "inference"}


def retry(story: Story, name: str) -> None:
    """What the message says."""
    story.edit(
        "Workspace",
        name,
        lambda item: (
            item["metadata"].setdefault("annotations", {}).update({"kaito.sh/retry": "1766"})
        ),
    )


def half_an_hour_passes(story: Story) -> None:
    """Metacontroller's own timer can't be leapt over: one that is started again asks at once."""
    begin = story.clock.now()
    story.run_until(lambda: story.clock.now() - begin > timedelta(minutes=31))
    story.stop_metacontroller()
    story.start_metacontroller()


def test_a_node_whose_model_has_no_image_is_given_back(story: Story) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.kubelet.refuse_image(story.pod(SERVED, **SERVING), "manifest unknown")
    words = story.says("ImagePullFailed", SERVED)
    assert "manifest unknown" in words
    assert (
        "The node is paid for and serves nobody; unless that changes, it is given back at" in words
    )
    half_an_hour_passes(story)
    story.run_until(lambda: story.words(SERVED)[0] == "IdleNodesReleased")
    assert "manifest unknown" in story.words(SERVED)[1]
    story.run_until(lambda: not story.machines() and not story.pools())
    story.becomes("Stalled", SERVED)
    story.is_a_fixed_point()
    retry(story, SERVED)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    story.deleted(SERVED)


def test_a_tuning_whose_image_does_not_come_gives_its_node_back(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    pod = story.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    story.kubelet.refuse_image(pod, "manifest unknown")
    half_an_hour_passes(story)
    story.run_until(lambda: story.words()[0] == "IdleNodesReleased")
    story.run_until(lambda: not story.machines() and not story.pools())
    story.is_a_fixed_point()
    retry(story, NAME)
    story.nodes_come()
    story.tunes()
    story.serves()
    story.becomes("WorkspaceReady")


def test_a_model_that_was_served_and_whose_pod_finds_no_room_is_given_back_last(
    story: Story,
) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    story.let_resyncs_pass()
    machine = story.machine()
    story.kubelet.evict(story.pod(SERVED, **SERVING))
    story.run_until(lambda: len(story.pods(SERVED, **SERVING)) == 1)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    assert story.machine() == machine
