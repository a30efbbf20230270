"""Metacontroller and the hooks may go away and come back at any moment, also as another version."""

from __future__ import annotations

import pytest

from kaito_laptop.core.objects import uid
from kaito_laptop.metacontroller.hooks import HookCaller

from tests.harness import sick_hooks
from tests.harness.builders import merged
from tests.harness.story import NAME, TUNING, Story

HEALTH = [
    sick_hooks.down,
    sick_hooks.slow,
    sick_hooks.garbage,
    sick_hooks.broken,
    sick_hooks.busy,
]


@pytest.mark.parametrize("sick", HEALTH, ids=lambda each: each.__name__)
def test_a_hook_that_is_not_well_changes_nothing_until_it_is(
    world: Story, sick: HookCaller
) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    machine, pools = world.machine(), world.pools()
    pod = world.pod(NAME)
    well, world.hooks = world.hooks, sick
    world.kubelet.start(pod)
    world.kubelet.fail(pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"})
    world.soon(lambda: world.get("Job", NAME)["status"].get("failed") == 1)
    assert (world.machines(), world.pools()) == ([machine], pools)
    assert not world.is_true(NAME, "Stalled")
    world.hooks = well
    world.run_until(lambda: world.words()[0] == "WeightsUnreachable")
    world.run_until(lambda: not world.machines())


@pytest.mark.parametrize("phase", ["checking", "tuning", "serving", "deleting"])
def test_metacontroller_may_be_killed_and_started_again(world: Story, phase: str) -> None:
    world.apply(TUNING)
    world.soon(lambda: world.find("Job", f"{NAME}-check") is not None)
    if phase == "checking":
        world.stop_metacontroller()
    world.check_succeeds()
    if phase == "checking":
        world.start_metacontroller()
    world.nodes_come()
    if phase == "tuning":
        world.pod(NAME)
        world.stop_metacontroller()
    world.tunes()
    if phase == "tuning":
        world.start_metacontroller()
    world.becomes("TuningSucceeded")
    if phase == "serving":
        world.soon(lambda: world.find("Deployment", NAME) is not None)
        world.stop_metacontroller()
    world.serves()
    if phase == "serving":
        world.start_metacontroller()
    world.becomes("WorkspaceReady")
    if phase == "deleting":
        world.stop_metacontroller()
        world.delete("Workspace", NAME)
        world.settle()
        assert len(world.pools()) == 1, "nobody is there to let the pool go"
        world.start_metacontroller()
        world.run_until(lambda: world.find("Workspace", NAME) is None)
        world.run_until(lambda: not world.pools())


def test_another_version_of_the_operator_tunes_nothing_again_and_keeps_the_node(
    world: Story,
) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    job, machine = (uid(world.get("Job", NAME)), uid(world.list("Machine")[0]))
    image = "ghcr.io/kaito-python/inference:0.2.0"
    world.install(
        world.clock,
        tuning_image="ghcr.io/kaito-python/tuning:0.2.0",
        transfer_image="ghcr.io/kaito-python/transfer:0.2.0",
        inference_image=image,
    )
    world.let_resyncs_pass()
    world.soon(
        lambda: any(
            image in [each["image"] for each in pod["spec"]["containers"]]
            for pod in world.pods(NAME)
        )
    )
    world.serves()
    world.becomes("WorkspaceReady")
    assert uid(world.get("Job", NAME)) == job
    assert [uid(each) for each in world.list("Machine")] == [machine]
    world.is_a_fixed_point()


def test_ten_workspaces_that_fail_do_not_delay_a_healthy_one(world: Story) -> None:
    world.hooks = sick_hooks.sick_for("broken-", sick_hooks.broken, world.hooks)
    for number in range(10):
        world.apply(merged(TUNING, {"metadata": {"name": f"broken-{number}"}}))
    world.apply(TUNING)
    world.becomes_ready()
