"""With `byo` a Machine says what its owner can do, and nothing is ever made or asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from kaito_hooks.providers.byo import ByoProvider
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.core.clock import Clock, VirtualClock, timestamp
from kaito_laptop.core.package_data import MACHINE_HOOK, WORKSPACE_HOOK

from tests.harness.builders import merged
from tests.harness.story import NAME, TUNING, MemoryStory, Story, check_wire, workspace_app
from tests.unit.machine.builders import NAME as MACHINE
from tests.unit.machine.builders import body, condition, machine, reason

SIZE = {"node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3"}


class Silent(ByoProvider):
    """Fails when it is asked to delete."""

    def delete(self, ref: Any, etag: str) -> None:
        raise AssertionError("there is nothing to delete")


def app(clock: Clock, log: io.StringIO) -> Flask:
    return create_machine_app(Silent(), clock.now, log_stream=log)


@contextmanager
def story_without_cloud() -> Iterator[MemoryStory]:
    with MemoryStory(checkers=[check_wire]) as story:
        story.log = io.StringIO()
        story.serve(MACHINE_HOOK, app(story.clock, story.log))
        story.serve(WORKSPACE_HOOK, workspace_app(story.clock, story.log))
        yield story


@pytest.fixture
def story() -> Iterator[Story]:
    with story_without_cloud() as found:
        yield found


def test_a_machine_says_that_nodes_are_the_users_and_what_to_do(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    machine = story.machine()
    ready = story.condition(machine, "Ready", "Machine")
    assert (ready["status"], ready["reason"]) == ("False", "NoNodesMade")
    assert "resource.labelSelector" in ready["message"]
    assert story.is_true(machine, "Stalled", "Machine")
    assert story.condition(NAME, "MachineReady")["reason"] == "NoNodesMade"
    story.let_resyncs_pass()
    assert story.machines() == [machine]


def test_labelling_a_node_is_all_that_is_needed(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.machine()
    story.add_node("mine", gpus=1, labels={"app": "tuning-phi-3", **SIZE})
    story.nodes_come()
    story.run_until(lambda: not story.machines())
    assert story.get("Workspace", NAME)["status"]["workerNodes"] == ["mine"]


def test_a_workspace_with_nodes_of_its_own_asks_for_no_machine(story: Story) -> None:
    for name in ("one", "two"):
        story.add_node(name, gpus=1, labels={"app": "tuning-phi-3", **SIZE})
    story.apply(merged(TUNING, {"resource": {"preferredNodes": ["two"]}}))
    story.becomes_ready()
    assert story.machines() == []
    assert story.get("Workspace", NAME)["status"]["workerNodes"] == ["two"]


def test_a_machine_that_nobody_made_a_node_for_can_be_deleted(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.machine()
    story.delete("Workspace", NAME)
    story.run_until(lambda: story.find("Workspace", NAME) is None and not story.machines())
    story.assert_nothing_remains()


def test_the_node_of_a_machine_that_another_provider_made_is_never_forgotten() -> None:
    clock = VirtualClock()
    hook = app(clock, io.StringIO()).test_client()
    parent = machine(status={"pool": {"name": MACHINE, "provisioningState": "Succeeded"}})
    seen = hook.post("/machine/sync", json=body(parent)).get_json()["status"]
    told = hook.post("/machine/sync", json=body({**parent, "status": seen})).get_json()["status"]
    assert reason(told, "ProviderTrouble") == "True/ConfigError"
    assert "KAITO_NODE_PROVIDER" in condition(told, "ProviderTrouble")["message"]
    parent["metadata"]["deletionTimestamp"] = timestamp(clock.now())
    for _ in range(5):
        clock.advance_to(clock.seconds() + 600)
        answer = hook.post("/machine/finalize", json=body(parent, (), True)).get_json()
        assert answer["finalized"] is False
        parent["status"] = answer["status"]
