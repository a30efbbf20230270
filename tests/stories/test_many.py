"""Many Workspaces at once: each gets its own node, and each Service leads to its own pods."""

from __future__ import annotations

from kaito_laptop.azure.interference import Outcome
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


def test_workspaces_made_together_never_mix_nodes_or_addresses(story: Story) -> None:
    names = [f"many-{number:02}" for number in range(story.many)]
    for each in names:
        story.apply(merged(SMALL, {"metadata": {"name": each}}))
    story.run_until(lambda: story.all_are("ResourceReady"))
    story.follow()
    for each in names:
        story.serves(each)
    story.soon(lambda: story.all_are("WorkspaceReady"))
    assert len(story.pools()) == story.many
    used = [node for each in story.list("Workspace") for node in each["status"]["workerNodes"]]
    assert len(set(used)) == story.many
    story.soon(lambda: len(addresses(story)) == story.many)
    for service, pods in addresses(story).items():
        assert [pod.startswith(f"{service}-") for pod in pods] == [True]


def test_workspaces_that_never_come_up_do_not_hold_up_a_healthy_one(story: Story) -> None:
    ten_that_never_come_up(story)
    story.apply(merged(TUNING, {"metadata": {"name": "healthy"}}))
    story.becomes_ready("healthy")
    assert story.says("Creating", "nodeless-0")
    assert story.says("CheckPending", "idle-0")
    assert "phi-3-mini" in story.says("PresetUnknown", "broken-0")


def ten_that_never_come_up(story: Story) -> None:
    """Four whose nodes never come, three whose pods never start, three whose spec is broken."""
    story.arm.faults.script_next(*[Outcome(state="Creating")] * 4)
    for number in range(4):
        story.apply(merged(INFERENCE, {"metadata": {"name": f"nodeless-{number}"}}))
    story.run_until(lambda: len(story.pools()) == 4)
    for number in range(3):
        story.apply(merged(TUNING, {"metadata": {"name": f"idle-{number}"}}))
        broken = {"tuning": {"preset": {"name": "phi-9"}}}
        story.apply(merged(TUNING, {"metadata": {"name": f"broken-{number}"}, **broken}))


def addresses(story: Story) -> dict[str, list[str]]:
    """The pods that each Service leads to."""
    return {
        labels(each)["kubernetes.io/service-name"]: [
            endpoint["targetRef"]["name"] for endpoint in each["endpoints"] or ()
        ]
        for each in story.list("EndpointSlice")
        if each["endpoints"]
    }
