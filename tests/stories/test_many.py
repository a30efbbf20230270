"""Many Workspaces at once: each gets its own node, and each Service leads to its own pods."""

from __future__ import annotations

from kaito_laptop.azure.faults import Fate
from kaito_laptop.core.objects import labels

from tests.harness.builders import merged
from tests.harness.story import INFERENCE, TUNING, Story

SMALL = merged(
    INFERENCE,
    {
        "resource": {"instanceType": "Standard_NC4as_T4_v3"},
        "inference": {"preset": {"name": "phi-2"}},
    },
)
"""A size of which the quota of a region has room for many."""


def test_workspaces_made_together_never_mix_nodes_or_addresses(world: Story) -> None:
    names = [f"many-{number:02}" for number in range(world.many)]
    for each in names:
        world.apply(merged(SMALL, {"metadata": {"name": each}}))
    world.run_until(lambda: world.all_are("ResourceReady"))
    world.follow()
    for each in names:
        world.serves(each, tuned=False)
    world.soon(lambda: world.all_are("WorkspaceReady"))
    assert len(world.pools()) == world.many
    used = [node for each in world.list("Workspace") for node in each["status"]["workerNodes"]]
    assert len(set(used)) == world.many
    world.soon(lambda: len(addresses(world)) == world.many)
    for service, pods in addresses(world).items():
        assert [pod.startswith(f"{service}-") for pod in pods] == [True]


def test_workspaces_that_never_come_up_do_not_hold_up_a_healthy_one(world: Story) -> None:
    ten_that_never_come_up(world)
    world.apply(merged(TUNING, {"metadata": {"name": "healthy"}}))
    world.becomes_ready("healthy")
    assert world.says("Creating", "nodeless-0")
    assert world.says("CheckPending", "idle-0")
    assert "phi-3-mini" in world.says("PresetUnknown", "broken-0")


def ten_that_never_come_up(world: Story) -> None:
    """Four whose nodes never come, three whose pods never start, three whose spec is broken."""
    world.arm.faults.foretell(*[Fate(state="Creating")] * 4)
    for number in range(4):
        world.apply(merged(INFERENCE, {"metadata": {"name": f"nodeless-{number}"}}))
    world.run_until(lambda: len(world.pools()) == 4)
    for number in range(3):
        world.apply(merged(TUNING, {"metadata": {"name": f"idle-{number}"}}))
        broken = {"tuning": {"preset": {"name": "phi-9"}}}
        world.apply(merged(TUNING, {"metadata": {"name": f"broken-{number}"}, **broken}))


def addresses(world: Story) -> dict[str, list[str]]:
    """The pods that each Service leads to."""
    return {
        labels(each)["kubernetes.io/service-name"]: [
            endpoint["targetRef"]["name"] for endpoint in each["endpoints"] or ()
        ]
        for each in world.list("EndpointSlice")
        if each["endpoints"]
    }
