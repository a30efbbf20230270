"""NodeClaims on a real API server, with the rights that the component gives: the contract, and a Workspace's story."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kubernetes import client as kube

from kaito_hooks.machine.provider import Absent
from kaito_laptop.core.objects import name

from tests.contract.providers.clouds import ClaimCloud
from tests.contract.providers.test_contract import *  # noqa: F403
from tests.contract.providers.test_contract import REF, request
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_gate import HookGate
from tests.e2e.karpenter_world import (
    ClaimWorld,
    claim_story,
    connection,
    install_karpenter,
    real_cloud,
    remove_karpenter,
)
from tests.e2e.real_world import Loop, RealWorld
from tests.harness.story import NAME, TUNING


@pytest.fixture(scope="module")
def token(plane: ControlPlane, gate: HookGate) -> Iterator[str]:
    """Of the node provisioner's account."""
    yield install_karpenter(plane)
    remove_karpenter(plane)


@pytest.fixture
def cloud(plane: ControlPlane, token: str) -> Iterator[ClaimCloud]:
    with real_cloud(plane, token) as found:
        yield found


@pytest.fixture
def world(
    plane: ControlPlane, gate: HookGate, token: str, loop: Callable[[RealWorld], Loop]
) -> Iterator[ClaimWorld]:
    with claim_story(plane, gate, token, loop) as story:
        yield story


def test_a_workspace_is_served_on_a_node_of_karpenters_and_nothing_is_left(
    world: ClaimWorld,
) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    machine = world.machine()
    world.run_until(lambda: world.pools() == [machine])
    world.nodes_come()
    assert world.get("Machine", machine)["status"]["nodeName"] == f"aks-{machine}"
    assert world.get("Workspace", NAME)["status"]["workerNodes"] == [f"aks-{machine}"]
    world.tunes()
    world.becomes("TuningSucceeded")
    world.serves()
    world.says("WorkspaceReady")
    world.is_a_fixed_point()
    world.deleted()
    assert f"aks-{machine}" not in [name(node) for node in world.list("Node")]


def test_what_karpenter_waits_for_is_said_in_its_own_reason(world: ClaimWorld) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    machine = world.machine()
    world.arm.holds[machine] = ("Registered", "NodeNotFound")
    world.run_until(lambda: world.condition(NAME, "MachineReady")["reason"] == "NodeNotFound")
    assert "Karpenter says" in world.condition(machine, "Ready", "Machine")["message"]
    world.arm.holds.clear()
    world.nodes_come()
    world.deleted()


def test_why_karpenter_took_a_node_claim_back_may_be_read(cloud: ClaimCloud) -> None:
    cloud.provider.create(request())
    cloud.karpenter.takes_back[REF.name] = "InsufficientCapacityError"
    cloud.finish()
    found = cloud.provider.get(REF, fresh=True)
    assert isinstance(found, Absent)
    assert found.why
    assert found.why.reason == "InsufficientCapacity"


def test_the_accounts_rights_end_there(plane: ControlPlane, token: str) -> None:
    with connection(plane, token) as way:
        for refused in (
            lambda: kube.CoreV1Api(way).list_node(),
            lambda: kube.CoreV1Api(way).list_secret_for_all_namespaces(),
            lambda: kube.CustomObjectsApi(way).patch_cluster_custom_object(
                "karpenter.sh", "v1", "nodeclaims", "any", {}
            ),
        ):
            with pytest.raises(kube.ApiException) as caught:
                refused()
            assert caught.value.status == 403
