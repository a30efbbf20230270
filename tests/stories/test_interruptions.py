"""Metacontroller and the hooks may go away and come back at any moment, also as another version."""

from __future__ import annotations

import pytest

from kaito_laptop.core.objects import uid
from kaito_laptop.metacontroller.hooks import HookCaller

from tests.harness import faulty_hooks
from tests.harness.builders import merged
from tests.harness.story import NAME, TUNING, Story

FAULTY_HOOKS = [
    faulty_hooks.down,
    faulty_hooks.slow,
    faulty_hooks.garbage,
    faulty_hooks.broken,
    faulty_hooks.busy,
]


@pytest.mark.parametrize("faulty", FAULTY_HOOKS, ids=lambda each: each.__name__)
def test_a_hook_that_is_not_well_changes_nothing_until_it_is(
    story: Story, faulty: HookCaller
) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    machine, pools = story.machine(), story.pools()
    pod = story.pod(NAME)
    well, story.hooks = story.hooks, faulty
    story.kubelet.start(pod)
    story.kubelet.fail(pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"})
    story.soon(lambda: story.get("Job", NAME)["status"].get("failed") == 1)
    assert (story.machines(), story.pools()) == ([machine], pools)
    assert not story.is_true(NAME, "Stalled")
    story.hooks = well
    story.run_until(lambda: story.words()[0] == "WeightsUnreachable")
    story.run_until(lambda: not story.machines())


@pytest.mark.parametrize("phase", ["checking", "tuning", "serving", "deleting"])
def test_metacontroller_may_be_killed_and_started_again(story: Story, phase: str) -> None:
    story.apply(TUNING)
    story.soon(lambda: story.find("Job", f"{NAME}-check") is not None)
    if phase == "checking":
        story.stop_metacontroller()
    story.check_succeeds()
    if phase == "checking":
        story.start_metacontroller()
    story.nodes_come()
    if phase == "tuning":
        story.pod(NAME)
        story.stop_metacontroller()
    story.tunes()
    if phase == "tuning":
        story.start_metacontroller()
    story.becomes("TuningSucceeded")
    if phase == "serving":
        story.soon(lambda: story.find("Deployment", NAME) is not None)
        story.stop_metacontroller()
    story.serves()
    if phase == "serving":
        story.start_metacontroller()
    story.becomes("WorkspaceReady")
    if phase == "deleting":
        story.stop_metacontroller()
        story.delete("Workspace", NAME)
        story.settle()
        assert len(story.pools()) == 1, "nobody is there to let the pool go"
        story.start_metacontroller()
        story.run_until(lambda: story.find("Workspace", NAME) is None)
        story.run_until(lambda: not story.pools())


def test_another_version_of_the_operator_tunes_nothing_again_and_keeps_the_node(
    story: Story,
) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    job, machine = (uid(story.get("Job", NAME)), uid(story.list("Machine")[0]))
    image = "ghcr.io/kaito-python/inference:0.2.0"
    story.install(
        story.clock,
        tuning_image="ghcr.io/kaito-python/tuning:0.2.0",
        transfer_image="ghcr.io/kaito-python/transfer:0.2.0",
        inference_image=image,
    )
    story.let_resyncs_pass()
    story.soon(
        lambda: any(
            image in [each["image"] for each in pod["spec"]["containers"]]
            for pod in story.pods(NAME)
        )
    )
    story.serves()
    story.becomes("WorkspaceReady")
    assert uid(story.get("Job", NAME)) == job
    assert [uid(each) for each in story.list("Machine")] == [machine]
    story.is_a_fixed_point()


def test_ten_workspaces_that_fail_do_not_delay_a_healthy_one(story: Story) -> None:
    story.hooks = faulty_hooks.faulty_for("broken-", faulty_hooks.broken, story.hooks)
    for number in range(10):
        story.apply(merged(TUNING, {"metadata": {"name": f"broken-{number}"}}))
    story.apply(TUNING)
    story.becomes_ready()
