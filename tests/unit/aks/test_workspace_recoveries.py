"""Faults of the cloud that the owner of a Workspace need do nothing about: it comes, and goes, and no pool is left.

The numbers are those of the fault table (reference 6); faults that end in words for the owner are in
test_workspace_endings.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.azure.cluster import SUBSCRIPTION
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.core.package_data import MACHINE_HOOK

from tests.harness.arm import Fault
from tests.harness.story import INFERENCE, SERVED, Story, memory_story
from tests.unit.aks.test_fault_table import APPLIED_AND_DROPPED, arm_error

SIZE = "Standard_NC24ads_A100_v4"
IN_PROGRESS = "Operation is not allowed because there's an in progress create node pool operation"


def answered(verb: Any, fault: Fault, times: int = 1) -> Any:
    """The next such requests are answered so."""
    return lambda story: story.arm.faults.add(verb, fault, times)


def scripted(**outcome: Any) -> Any:
    """The next pool comes to this."""
    return lambda story: story.arm.faults.script_next(Outcome(**outcome))


COMING: list[tuple[str, Any, int]] = [
    ("2 the pool is there at once", scripted(seconds=0), 1),
    ("3 the answer has no body", answered("PUT", Fault(201, b"", is_applied=True)), 1),
    ("4 the answer to the PUT is lost", answered("PUT", APPLIED_AND_DROPPED), 1),
    ("5 the PUT is carried out late",
     answered("PUT", Fault(is_dropped=True, applied_after_seconds=40)), 1),
    ("9 the creation is under way already", answered(
        "PUT", replace(arm_error(409, "OperationNotAllowed", IN_PROGRESS), is_applied=True)), 1),
    ("17 18 too many requests, and no word for how long", answered(
        "PUT", arm_error(429, "Throttled")), 1),
    ("20 a server error that says when to come again", answered(
        "PUT", arm_error(503, "ServerError", Retry_After="30")), 1),
    ("21 readers have not heard of the pool", answered("GET", arm_error(404, "NotFound"), 3), 1),
    ("23 a proxy answers for a while", answered("GET", Fault(404, b"<html>"), 2), 1),
    ("25 an empty body", answered("GET", Fault(200, b"{}"), 2), 1),
    ("29 the pool fails once", scripted(state="Failed"), 2),
    ("31 the creation is cancelled once", scripted(state="Canceled"), 2),
    ("33 the node does not join once", scripted(has_node=False), 2),
    ("45 the list breaks off", answered("LIST", Fault(200, b'{"value": [{"na'), 2), 1),
    ("55 no connection for a while", answered("GET", Fault(is_dropped=True), 3), 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arrange", "pools"), [row[1:] for row in COMING], ids=[row[0] for row in COMING]
)
def test_a_workspace_gets_its_node_all_the_same(arrange: Any, pools: int) -> None:
    with memory_story() as story:
        arrange(story)
        story.apply(INFERENCE)
        story.nodes_come(SERVED)
        made = [item for item in story.azure.asked if item.verb == "PUT" and item.status == 201]
        assert len(made) <= pools
        assert len(story.pools()) == 1
        story.deleted(SERVED)


def is_not_deletable_yet(story: Story) -> None:
    story.arm.behaviour = replace(story.arm.behaviour, is_deletable_while_creating=False)


def loses_its_tags(story: Story) -> None:
    for pool in story.pools():
        story.arm.set_pool(pool, tags={"team": "finance"})


def is_marked_as_failed(story: Story) -> None:
    for pool in story.pools():
        story.arm.set_pool(pool, provisioningState="Failed")


GOING: list[tuple[str, Any]] = [
    ("38 a policy stripped the tags", loses_its_tags),
    ("40 there is said to be no such pool", answered("DELETE", arm_error(404, "NotFound"), 2)),
    ("40 the answer is plain success", answered("DELETE", Fault(200, b"", is_applied=True))),
    ("41 a pool that is being created can't be deleted", is_not_deletable_yet),
    ("42 the etag does not match", answered("DELETE", Fault(412, b""), 4)),
    ("43 the pool is marked as failed", is_marked_as_failed),
    ("44 too many requests", answered("DELETE", arm_error(429, "Throttled", Retry_After="60"), 9)),
    ("45 the list breaks off", answered("LIST", Fault(500, b""), 3)),
    ("55 no connection", answered("DELETE", Fault(is_dropped=True), 3)),
]  # fmt: skip


@pytest.mark.parametrize("has_node", [True, False])
@pytest.mark.parametrize("arrange", [row[1] for row in GOING], ids=[row[0] for row in GOING])
def test_52_a_workspace_goes_and_its_pool_with_it(arrange: Any, has_node: bool) -> None:
    with memory_story() as story:
        story.apply(INFERENCE)
        if has_node:
            story.nodes_come(SERVED)
        else:
            story.run_until(lambda: len(story.pools()) == 1)
        arrange(story)
        story.deleted(SERVED)


def test_30_a_workspace_stays_ready_on_a_node_that_works_though_its_pool_is_marked_as_failed() -> (
    None
):
    with memory_story() as story:
        story.apply(INFERENCE)
        story.nodes_come(SERVED)
        story.serves(SERVED)
        story.becomes("WorkspaceReady", SERVED)
        is_marked_as_failed(story)
        story.advance(1800)
        assert story.is_true(SERVED, "WorkspaceReady")
        (machine,) = story.list("Machine")
        name = machine["metadata"]["name"]
        assert story.condition(name, "Degraded", "Machine")["reason"] == "PoolFailed"
        story.deleted(SERVED)


@pytest.mark.parametrize(
    ("state", "of_cluster"),
    [("Upgrading", False), ("UpgradingNodeImageVersion", False), ("Starting", True)],
)
def test_a_workspace_is_served_again_after_aks_has_upgraded_or_started_its_node(
    state: str, of_cluster: bool
) -> None:
    """On the same Machine: it was replaced after ten minutes, in the midst of it (kaito-project/kaito#2075)."""
    with memory_story() as story:
        story.apply(INFERENCE)
        story.nodes_come(SERVED)
        story.serves(SERVED)
        story.becomes("WorkspaceReady", SERVED)
        machines, (pool,) = story.machines(), story.pools()
        story.arm.begin_own_operation(state, 3600, None if of_cluster else pool)
        (node,) = story.list("Node", {"kaito.sh/workspace": SERVED})
        if of_cluster:
            story.nodes.remove(node["metadata"]["name"])
        story.run_until(lambda: story.words(SERVED)[0] == "NodeUpdating")
        assert state in story.words(SERVED)[1]
        story.advance(3600)
        if of_cluster:
            story.nodes.add(without_traces(node))
        story.nodes_come(SERVED)
        assert (story.machines(), story.pools()) == (machines, [pool])
        assert (story.azure.count("DELETE"), story.arm.preempted) == (0, [])
        story.deleted(SERVED)


def without_traces(node: Any) -> Any:
    """The Node as its kubelet registers it again."""
    kept = {key: node["metadata"][key] for key in ("name", "labels")}
    return {**node, "metadata": kept}


@pytest.mark.parametrize(
    ("compute", "reason", "remedy"),
    [
        ({"not_offered": {SIZE}}, "SkuNotAvailable", "choose another `resource.instanceType`"),
        (
            {"limits": {"standardNCADSA100v4Family": 6}},
            "QuotaExceeded",
            "limit 6, used 0, needed 24",
        ),
        (
            {"limits": {"standardNCADSA100v4Family": 0}},
            "QuotaExceeded",
            "limit 0, used 0, needed 24",
        ),
        ({"limits": {"cores": 3}}, "QuotaExceeded", "cores: limit 3"),
    ],
)
def test_what_the_region_can_not_give_is_told_within_seconds_and_nothing_is_asked_for(
    compute: Any, reason: str, remedy: str
) -> None:
    with memory_story() as story:
        for name, value in compute.items():
            setattr(story.arm.compute, name, value)
        settings = AksSettings(
            SUBSCRIPTION, "laptop", "laptop", "kaito",
            arm_endpoint=story.azure.url, location=story.arm.compute.region,
        )  # fmt: skip
        provider = AksProvider(settings, story.clock.now)
        story.serve(MACHINE_HOOK, create_machine_app(provider, story.clock.now))
        story.apply(INFERENCE)
        began = story.clock.seconds()
        assert remedy in story.says(reason, SERVED)
        assert story.clock.seconds() - began <= 10
        assert story.azure.count("PUT") == 0
        story.deleted(SERVED)
        assert story.azure.count("PUT") == 0
