"""With `byo` a Machine says what its owner can do, and nothing is ever made or asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kaito_hooks.providers.byo import ByoProvider
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.core.clock import Clock, VirtualClock, timestamp
from kaito_laptop.core.package_data import MACHINE_HOOK, WORKSPACE_HOOK
from kaito_laptop.metacontroller.hooks import WsgiApp

from tests.harness.builders import merged
from tests.harness.story import NAME, TUNING, MemoryStory, Story, check_wire, workspace_app
from tests.unit.machine.builders import NAME as MACHINE
from tests.unit.machine.builders import body, condition, machine, reason

SIZE = {"node.kubernetes.io/instance-type": "Standard_NC4as_T4_v3"}


class Silent(ByoProvider):
    """Fails when it is asked to delete."""

    def delete(self, ref: Any, etag: str) -> None:
        raise AssertionError("there is nothing to delete")


def app(clock: Clock, log: io.StringIO) -> WsgiApp:
    return create_machine_app(Silent(), clock.now, log_stream=log)


@contextmanager
def world_without_cloud() -> Iterator[MemoryStory]:
    with MemoryStory(checkers=[check_wire]) as world:
        world.log = io.StringIO()
        world.serve(MACHINE_HOOK, app(world.clock, world.log))
        world.serve(WORKSPACE_HOOK, workspace_app(world.clock, world.log))
        yield world


@pytest.fixture
def world() -> Iterator[Story]:
    with world_without_cloud() as found:
        yield found


def test_a_machine_says_that_nodes_are_the_users_and_what_to_do(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    machine = world.machine()
    ready = world.condition(machine, "Ready", "Machine")
    assert (ready["status"], ready["reason"]) == ("False", "NoNodesMade")
    assert "resource.labelSelector" in ready["message"]
    assert world.is_true(machine, "Stalled", "Machine")
    assert world.condition(NAME, "MachineReady")["reason"] == "NoNodesMade"
    world.let_resyncs_pass()
    assert world.machines() == [machine]


def test_labelling_a_node_is_all_that_is_needed(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.machine()
    world.add_node("mine", gpus=1, labels={"app": "tuning-phi-3", **SIZE})
    world.nodes_come()
    world.run_until(lambda: not world.machines())
    assert world.get("Workspace", NAME)["status"]["workerNodes"] == ["mine"]


def test_a_workspace_with_nodes_of_its_own_asks_for_no_machine(world: Story) -> None:
    for name in ("one", "two"):
        world.add_node(name, gpus=1, labels={"app": "tuning-phi-3", **SIZE})
    world.apply(merged(TUNING, {"resource": {"preferredNodes": ["two"]}}))
    world.becomes_ready()
    assert world.machines() == []
    assert world.get("Workspace", NAME)["status"]["workerNodes"] == ["two"]


def test_a_machine_that_nobody_made_a_node_for_can_be_deleted(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.machine()
    world.delete("Workspace", NAME)
    world.run_until(lambda: world.find("Workspace", NAME) is None and not world.machines())
    world.assert_nothing_remains()


def test_the_node_of_a_machine_that_another_provider_made_is_never_forgotten() -> None:
    clock = VirtualClock()
    hook = app(clock, io.StringIO()).test_client()
    parent = machine(status={"pool": {"name": MACHINE, "provisioningState": "Succeeded"}})
    seen = hook.post("/machine/sync", json=body(parent)).json["status"]
    told = hook.post("/machine/sync", json=body({**parent, "status": seen})).json["status"]
    assert reason(told, "ProviderTrouble") == "True/ConfigError"
    assert "KAITO_NODE_PROVIDER" in condition(told, "ProviderTrouble")["message"]
    parent["metadata"]["deletionTimestamp"] = timestamp(clock.now())
    for _ in range(5):
        clock.advance_to(clock.seconds() + 600)
        answer = hook.post("/machine/finalize", json=body(parent, (), True)).json
        assert answer["finalized"] is False
        parent["status"] = answer["status"]
