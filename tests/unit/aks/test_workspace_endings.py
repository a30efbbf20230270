"""Each fault of the cloud as the owner of a Workspace meets it: a reason, what to do, and no pool in the end.

The numbers are those of the fault table (reference 6); what the Machine hook does about each row is in
test_fault_table.py. Faults that need no words are in test_workspace_recoveries.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings, WorkloadIdentity
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.azure.cluster import SUBSCRIPTION
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.core.package_data import MACHINE_HOOK

from tests.harness import provisioning_errors as errors
from tests.harness.arm import Fault
from tests.harness.story import INFERENCE, SERVED, Story, memory_story
from tests.unit.aks.test_fault_table import DROPPED, arm_error

SIZE = "Standard_NC24ads_A100_v4"


def answered(verb: Any, fault: Fault) -> Any:
    """From now on every such request is answered so."""
    return lambda story: story.arm.faults.always(verb, fault)


def scripted(**outcome: Any) -> Any:
    """The next pools come to this."""
    return lambda story: story.arm.faults.script_next(*[Outcome(**outcome)] * 8)


def given(**compute: Any) -> Any:
    """Azure has no more than this to give."""

    def arrange(story: Story) -> None:
        for name, value in compute.items():
            setattr(story.arm.compute, name, value)

    return arrange


def forbidding(**changes: Any) -> Any:
    """The owner of the subscription does not let us."""

    def arrange(story: Story) -> None:
        for name, value in changes.items():
            setattr(story.arm.guards, name, value)

    return arrange


BUSY = "Another operation (x - Updating) is in progress"
ROWS: list[tuple[str, Any, str, str]] = [
    ("8 the cluster is busy", answered("PUT", arm_error(409, "OperationNotAllowed", BUSY)),
     "AKSBusy", "busy with another operation; retrying"),
    ("8 the cluster is being upgraded", lambda story: story.arm.occupy("Upgrading", 10**6),
     "AKSBusy", "retrying"),
    ("10 no quota is left", given(limits={"standardNCADSA100v4Family": 6}),
     "QuotaExceeded", "ask for more under Quotas in the Azure portal"),
    ("11 there is no quota at all", given(limits={"standardNCADSA100v4Family": 0}),
     "QuotaExceeded", "ask for more under Quotas in the Azure portal"),
    ("12 no quota is left, in AKS' own words", answered("PUT", arm_error(
        400, "ErrCode_InsufficientVCPUQuota", "Insufficient vcpu quota requested 24, remaining 0")),
     "QuotaExceeded", "ask for more under Quotas in the Azure portal"),
    ("13 the size is not offered", given(not_offered={SIZE}),
     "SkuNotAvailable", "choose another `resource.instanceType`"),
    ("14 the quota is named only in the details", answered("PUT", arm_error(
        400, "InvalidTemplateDeployment", "no", [{"code": "QuotaExceeded", "message": "none"}])),
     "QuotaExceeded", "ask for more under Quotas"),
    ("15 the identity lacks the right", answered("PUT", arm_error(403, "AuthorizationFailed", "no")),
     "Forbidden", "give its identity rights on the cluster's agent pools"),
    ("15 a policy forbids it", answered("PUT", arm_error(403, "RequestDisallowedByPolicy", "no")),
     "Forbidden", "have the policy that is named here exempt the cluster's agent pools"),
    ("16 the token is not accepted", answered("GET", arm_error(401, "ExpiredAuthenticationToken")),
     "Unauthorized", "check its workload identity"),
    ("17 Azure asks for fewer requests", answered("PUT", arm_error(429, "Throttled", Retry_After="60")),
     "Throttled", "asks for fewer requests; retrying"),
    ("19 Azure has a server error", answered("GET", Fault(503, b"<html>")),
     "ProviderUnanswered", "the agent pool is read again"),
    ("22 the resource group does not exist", answered("GET", arm_error(404, "ResourceGroupNotFound")),
     "ConfigError", "check ARM_SUBSCRIPTION_ID, ARM_RESOURCE_GROUP and AZURE_CLUSTER_NAME"),
    ("23 a proxy answers", answered("GET", Fault(404, b"<html>")),
     "ProviderUnreadable", "perhaps from a proxy"),
    ("24 a redirect leads elsewhere", answered("GET", Fault(302, b"", {"Location": "http://192.0.2.1/"})),
     "ProviderUnreadable", "perhaps from a proxy"),
    ("25 the body is empty", answered("GET", Fault(200, b"{}")),
     "ProviderUnreadable", "perhaps from a proxy"),
    ("26 the pool is in a state that nobody knows", scripted(state="Reticulating"),
     "CreateSlow", "choose another `resource.instanceType` or delete the Workspace"),
    ("27 the pool has no state", answered("GET", Fault(200, b'{"name": "ws", "properties": {}}')),
     "ProviderUnreadable", "perhaps from a proxy"),
    ("28 no virtual machine is free", given(free={SIZE: 0}),
     "InsufficientCapacity", "another `resource.instanceType` or region may be available at once"),
    ("29 the pool fails without a word", scripted(state="Failed"),
     "PoolFailed", "it is deleted, then retrying"),
    ("31 the operation is cancelled", scripted(state="Canceled"),
     "PoolFailed", "it is deleted, then retrying"),
    ("32 the operation succeeds and the pool fails", scripted(state="Failed", operation="Succeeded"),
     "PoolFailed", "it is deleted, then retrying"),
    ("33 the node never joins", scripted(has_node=False),
     "NodeNotFound", "Look at the subnet's outbound rules"),
    ("35 the node has no GPU", scripted(gpus=0),
     "ResourceNotRegistered", "its driver or the device plugin is missing"),
    ("55 no connection", answered("GET", DROPPED),
     "ProviderUnanswered", "the agent pool is read again"),
    ("63 the cluster has all the pools it may have", answered("PUT", arm_error(
        400, "BadRequest", "The cluster has reached the limit of 100 agent pools")),
     "PoolLimit", "delete Workspaces that are done"),
    ("a lock on the resource group", forbidding(lock="ReadOnly"),
     "Forbidden", "its owner must remove it"),
    ("the subscription is disabled", forbidding(is_subscription_disabled=True),
     "Forbidden", "its owner must enable it again"),
    ("a policy on what pools may be", forbidding(policy=lambda properties: "no-gpus"),
     "Forbidden", "have the policy that is named here exempt"),
    ("no way out of the subnet", scripted(state="Failed", error=errors.node_setup_failed(2026, 50)),
     "NodeSetupFailed", "must open the subnet's outbound rules"),
    ("no driver for the GPU", scripted(state="Failed", error=errors.node_setup_failed(2022, 84)),
     "NodeSetupFailed", "bring the driver with a GPU operator"),
    ("the third node that can't be set up", scripted(
        state="Failed", error=errors.node_setup_failed(2024, 124)),
     "NodeSetupFailed", "no more are made until a person has looked"),
    ("the cluster's version is too old", answered("PUT", arm_error(
        400, "AgentPoolK8sVersionNotSupported", "Version 1.18.19 is not supported in this region.")),
     "ClusterOutdated", "upgrade the cluster"),
    ("what nobody knows", answered("PUT", arm_error(400, "BadRequest", "no such luck")),
     "InvalidRequest", "Azure says: no such luck"),
    ("capacity named in the sentence alone", scripted(state="Failed", error=errors.provisioning_error(
        2022, "AllocationFailed")), "InsufficientCapacity", "may be available at once"),
    ("64 the subscription is not registered", answered("PUT", arm_error(
        409, "MissingSubscriptionRegistration")), "ConfigError", "check ARM_SUBSCRIPTION_ID"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arrange", "reason", "remedy"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_the_owner_reads_why_and_what_to_do_and_no_pool_is_left(
    arrange: Any, reason: str, remedy: str
) -> None:
    with memory_story() as story:
        arrange(story)
        story.apply(INFERENCE)
        story.run_until(lambda: said(story) == reason and remedy in said(story, "message"))
        assert not story.is_true(SERVED, "WorkspaceReady")
        for verb in ("GET", "PUT", "LIST", "DELETE"):
            story.arm.faults.always(verb, None)
        forbidding(lock="", is_subscription_disabled=False, policy=None)(story)
        story.arm.occupy("Succeeded", 0)
        for pool in story.pools():
            if b"Reticulating" in story.arm.get(pool).body:  # Not deleted in the midst of that.
                story.arm.set_pool(pool, provisioningState="Succeeded")
        story.deleted(SERVED)


@pytest.mark.parametrize("verb", ["GET", "LIST", "DELETE"])
def test_a_cloud_that_fails_while_a_workspace_goes_keeps_it_until_the_pool_is_gone(
    verb: Any,
) -> None:
    with memory_story() as story:
        story.apply(INFERENCE)
        story.nodes_come(SERVED)
        story.arm.faults.always(verb, Fault(500, b"<html>"))
        story.delete("Workspace", SERVED)
        story.advance(3600)
        assert story.find("Workspace", SERVED) is not None
        assert said(story) == "WorkspaceDeleting"
        (machine,) = story.list("Machine")
        blocked = story.condition(machine["metadata"]["name"], "DeletionBlocked", "Machine")
        assert (blocked["status"], blocked["reason"]) == ("True", "ProviderUnanswered")
        story.arm.faults.always(verb, None)
        story.deleted(SERVED)


def test_36_a_pool_of_someone_else_is_told_and_left_alone() -> None:
    with memory_story() as story:
        story.apply(INFERENCE)
        (pool,) = story.pools()
        story.arm.set_pool(pool, tags={}, nodeLabels={})
        story.run_until(lambda: said(story) == "NameConflict")
        assert "belongs to someone else" in said(story, "message")
        story.delete("Workspace", SERVED)
        story.run_until(lambda: story.find("Workspace", SERVED) is None)
        assert story.pools() == [pool]


def test_34_a_second_node_of_a_pool_is_told() -> None:
    with memory_story() as story:
        story.apply(INFERENCE)
        story.run_until(lambda: bool(story.list("Node", {"kaito.sh/workspace": SERVED})))
        (node,) = story.list("Node", {"kaito.sh/workspace": SERVED})
        names = {"name": node["metadata"]["name"] + "1", "labels": node["metadata"]["labels"]}
        story.nodes.add({**node, "metadata": names})
        story.run_until(lambda: said(story) == "MultipleNodesFound")
        assert "Scale the agent pool to one" in said(story, "message")
        story.nodes.remove(names["name"])
        story.nodes_come(SERVED)
        story.deleted(SERVED)


def test_56_a_token_that_can_not_be_had_is_told(tmp_path: Path) -> None:
    identity = WorkloadIdentity("tenant", "client", str(tmp_path / "none"), "https://127.0.0.1:1/")
    settings = AksSettings(SUBSCRIPTION, "laptop", "laptop", "kaito", identity=identity)
    with memory_story() as story:
        provider = AksProvider(settings, story.clock.now)
        story.serve(MACHINE_HOOK, create_machine_app(provider, story.clock.now))
        story.apply(INFERENCE)
        assert "workload identity" in story.says("CredentialUnavailable", SERVED)
        assert story.azure.asked == []
        story.install(story.clock)
        story.nodes_come(SERVED)
        story.deleted(SERVED)


def said(story: Story, field: str = "reason") -> str:
    return str(story.condition(SERVED, "Ready")[field])


def resource(**fields: Any) -> Any:
    return {**INFERENCE, "resource": {**INFERENCE["resource"], **fields}}


def test_a_workspace_above_its_price_limit_asks_for_nothing_and_goes_on_when_it_is_raised() -> None:
    with memory_story() as story:
        story.apply(resource(maxHourlyCost="3.50"))
        assert "costs 3.673 USD an hour" in story.says("CostTooHigh", SERVED)
        assert (story.machines(), story.azure.count("PUT")) == ([], 0)
        story.edit("Workspace", SERVED, lambda item: item["resource"].update(maxHourlyCost="3.673"))
        story.nodes_come(SERVED)
        story.edit("Workspace", SERVED, lambda item: item["resource"].update(maxHourlyCost="1"))
        story.says("CostTooHigh", SERVED)
        assert len(story.pools()) == 1  # What runs is told about, never taken away.
        story.deleted(SERVED)


@pytest.mark.parametrize(
    ("spot", "label"), [("never", None), ("prefer", "spot"), ("require", "spot")]
)
def test_a_workspace_runs_on_a_spot_node_if_it_may(spot: str, label: str | None) -> None:
    with memory_story() as story:
        story.apply(resource(spot=spot))
        story.nodes_come(SERVED)
        (node,) = story.list("Node", {"kaito.sh/workspace": SERVED})
        assert node["metadata"]["labels"].get("kubernetes.azure.com/scalesetpriority") == label
        story.serves(SERVED)
        story.becomes("WorkspaceReady", SERVED)
        story.deleted(SERVED)


def test_a_workspace_that_prefers_spot_gets_a_regular_node_when_there_is_none() -> None:
    with memory_story() as story:
        story.arm.compute.free[f"spot/{SIZE}"] = 0
        story.apply(resource(spot="prefer"))
        story.nodes_come(SERVED)
        story.deleted(SERVED)


def test_who_required_spot_gets_a_regular_node_as_the_message_says() -> None:
    with memory_story() as story:
        story.arm.compute.free[f"spot/{SIZE}"] = 0
        story.apply(resource(spot="require"))
        story.run_until(lambda: said(story) == "InsufficientCapacity")
        assert "set the Workspace's `resource.spot` to `prefer` and delete this Machine" in said(
            story, "message"
        )
        story.edit("Workspace", SERVED, lambda item: item["resource"].update(spot="prefer"))
        (machine,) = story.machines()
        story.delete("Machine", machine)
        story.nodes_come(SERVED)
        (node,) = story.list("Node", {"kaito.sh/workspace": SERVED})
        assert "kubernetes.azure.com/scalesetpriority" not in node["metadata"]["labels"]
        story.deleted(SERVED)
