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
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.karpenter_story import (
    ClaimStory,
    claim_story,
    connection,
    install_karpenter,
    real_cloud,
    remove_karpenter,
)
from tests.e2e.real_story import Loop, RealStory
from tests.harness.story import NAME, TUNING


@pytest.fixture(scope="module")
def token(plane: ControlPlane, proxy: HookProxy) -> Iterator[str]:
    """Of the node provisioner's account."""
    yield install_karpenter(plane)
    remove_karpenter(plane)


@pytest.fixture
def cloud(plane: ControlPlane, token: str) -> Iterator[ClaimCloud]:
    with real_cloud(plane, token) as found:
        yield found


@pytest.fixture
def story(
    plane: ControlPlane, proxy: HookProxy, token: str, loop: Callable[[RealStory], Loop]
) -> Iterator[ClaimStory]:
    with claim_story(plane, proxy, token, loop) as story:
        yield story


def test_a_workspace_is_served_on_a_node_of_karpenters_and_nothing_is_left(
    story: ClaimStory,
) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    machine = story.machine()
    story.run_until(lambda: story.pools() == [machine])
    story.nodes_come()
    assert story.get("Machine", machine)["status"]["nodeName"] == f"aks-{machine}"
    assert story.get("Workspace", NAME)["status"]["workerNodes"] == [f"aks-{machine}"]
    story.tunes()
    story.becomes("TuningSucceeded")
    story.serves()
    story.says("WorkspaceReady")
    story.is_a_fixed_point()
    story.deleted()
    assert f"aks-{machine}" not in [name(node) for node in story.list("Node")]


def test_what_karpenter_waits_for_is_said_in_its_own_reason(story: ClaimStory) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    machine = story.machine()
    story.karpenter.holds[machine] = ("Registered", "NodeNotFound")
    story.run_until(lambda: story.condition(NAME, "MachineReady")["reason"] == "NodeNotFound")
    assert "Karpenter says" in story.condition(machine, "Ready", "Machine")["message"]
    story.karpenter.holds.clear()
    story.nodes_come()
    story.deleted()


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
                refused()  # type: ignore[no-untyped-call]
            assert caught.value.status == 403
