"""A Machine's life beside an AKS that answers as the real one does: what it refuses, what it does by itself."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.azure.provisioning_errors import no_capacity

from tests.harness import provisioning_errors as errors
from tests.harness.arm import Fault
from tests.unit.aks.story import reason_of, story
from tests.unit.aks.test_preflight import priority, spot
from tests.unit.machine.builders import NAME, SIZE, machine


def message(life: Any, type_: str = "Ready") -> str:
    return next(str(item["message"]) for item in life.status["conditions"] if item["type"] == type_)


def puts(life: Any) -> list[int]:
    return [item.status for item in life.arm.asked if item.verb == "PUT"]


# Spot


@pytest.mark.parametrize("max_surge", [0, 1])
def test_a_spot_pool_is_accepted_at_the_first_try(max_surge: int) -> None:
    with story({"max_surge": max_surge}) as life:
        life.parent = spot("spot")
        life.until_ready()
        assert (priority(life), puts(life)) == ("Spot", [201])


@pytest.mark.parametrize(
    "refusal",
    [
        ("InvalidParameter", "Error details: Spot pools can't set maxUnavailable."),
        ("BadRequest", "The VM size does not support scaleSetPriority Spot."),
        ("SkuNotAvailable", no_capacity(SIZE, "westeurope")),
        ("QuotaExceeded", errors.quota("LowPriorityCores", 3, 0, 6)),
        ("OperationNotAllowed", errors.quota("LowPriorityCores", 3, 0, 6)),
        ("RequestDisallowedByPolicy", "Resource was disallowed by policy 'no-spot-nodes'."),
    ],
)
def test_whatever_is_refused_about_spot_leads_to_a_regular_node_at_once(
    refusal: tuple[str, str],
) -> None:
    code, said = refusal
    body = json.dumps({"code": code, "details": None, "message": said, "subcode": ""}).encode()
    with story() as life:
        life.parent = spot("spot", "on-demand")
        life.faults.add("PUT", Fault(400, body))
        life.until_ready(1200)
        assert (priority(life), puts(life)) == ("Regular", [400, 201])


def test_a_machine_that_must_be_spot_says_that_azure_makes_none() -> None:
    said = {"code": "InvalidParameter", "message": "Spot is not supported for this size."}
    with story() as life:
        life.parent = spot("spot")
        life.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        life.until(lambda it: reason_of(it) == "False/SpotRefused")
        assert reason_of(life, "Stalled") == "True/SpotRefused"
        assert "`resource.spot`" in message(life)


def test_a_spot_node_that_azure_has_none_of_is_asked_for_again_after_an_hour() -> None:
    with story(compute=Compute(free={f"spot/{SIZE}": 0})) as life:
        life.parent = spot("spot")
        life.until(lambda it: it.arm.count("PUT") == 2)
        assert 3600 <= life.clock.seconds() <= 3 * 3600


# AKS Automatic


def test_a_cluster_whose_system_nodes_aks_hosts_is_believed() -> None:
    with story(hosted_system=True) as life:
        life.until_ready()
        life.arm.cluster.delete(NAME, Request("DELETE", "", {}, {}))
        life.until(lambda it: len(puts(it)) == 2)
        life.until_ready()
        life.delete()
        life.until_gone()
        assert life.pools == []


def test_an_empty_list_of_a_cluster_that_hosts_nothing_is_not() -> None:
    with story() as life:
        life.faults.always("LIST", Fault(200, b'{"value": []}'))
        life.delete()
        life.until(lambda it: it.clock.seconds() > 600)
        assert not life.is_gone
        assert reason_of(life, "ProviderTrouble") == "True/ProviderUnreadable"


def test_nor_is_the_word_of_another_cluster() -> None:
    other = {"id": "/subscriptions/x", "properties": {"hostedSystemProfile": {"enabled": True}}}
    with story() as life:
        life.faults.always("LIST", Fault(200, b'{"value": []}'))
        life.faults.always("CLUSTER", Fault(200, json.dumps(other).encode()))
        life.delete()
        life.until(lambda it: it.clock.seconds() > 600)
        assert not life.is_gone


# What a person forbids


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"lock": "ReadOnly"}, "A lock on the cluster"),
        ({"is_subscription_disabled": True}, "The subscription is disabled"),
        ({"policy": lambda properties: "no-gpus"}, "An Azure policy refuses the node"),
    ],
)
def test_a_person_reads_who_forbids_it_and_aks_is_not_asked_all_day(
    block: dict[str, Any], words: str
) -> None:
    with story() as life:
        for name, value in block.items():
            setattr(life.arm.cluster.guards, name, value)
        life.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert reason_of(life) == "False/Forbidden"
        assert reason_of(life, "Stalled") == "True/Forbidden"
        assert message(life).startswith(words)
        assert len(puts(life)) <= 32
        for name in block:
            setattr(life.arm.cluster.guards, name, None if name == "policy" else "")
        life.until_ready()


@pytest.mark.parametrize("lock", ["CanNotDelete", "ReadOnly"])
def test_a_lock_keeps_a_node_only_as_long_as_it_is_there(lock: str) -> None:
    with story() as life:
        life.until_ready()
        life.arm.cluster.guards.lock = lock
        life.delete()
        life.until(lambda it: it.clock.seconds() > 2 * 3600)
        assert reason_of(life, "DeletionBlocked") == "True/Forbidden"
        life.arm.cluster.guards.lock = ""
        life.until_gone(600)
        assert life.pools == []


# Settings


def test_a_setting_that_azure_refuses_is_named_and_asked_again_at_once_when_it_is_mended() -> None:
    with story({"zones": ("3",)}, compute=Compute(zones=("1", "2"))) as life:
        life.until(lambda it: it.clock.seconds() > 5 * 3600, 6 * 3600)
        assert reason_of(life) == "False/SettingRefused"
        assert reason_of(life, "Stalled") == "True/SettingRefused"
        assert "KAITO_POOL_ZONES" in message(life)
        assert "The supported zones for location westeurope are 1,2" in message(life)
        assert len(puts(life)) <= 4
        life.restart(zones=("1",))
        life.until_ready(1200)


def test_what_is_not_a_setting_is_the_machines() -> None:
    said = {"code": "InvalidParameter", "message": "The zone(s) '3' is not supported."}
    with story() as life:
        life.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        life.until(lambda it: reason_of(it) == "False/InvalidRequest")


def test_too_many_pools_are_told_as_such() -> None:
    with story(most_pools=1) as life:
        life.until(lambda it: reason_of(it) == "False/PoolLimit")


def test_a_cluster_that_is_too_old_is_told_as_such() -> None:
    said = {
        "code": "AgentPoolK8sVersionNotSupported",
        "message": "Version 1.18.19 is not supported.",
    }
    with story() as life:
        life.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        life.until(lambda it: reason_of(it) == "False/ClusterOutdated")
        assert "az aks upgrade" in message(life)


# What AKS does by itself


@pytest.mark.parametrize("preempts", [False, True])
@pytest.mark.parametrize(
    "state", ["Starting", "Upgrading", "UpgradingNodeImageVersion", "Updating"]
)
@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_node_that_aks_is_at_work_on_is_not_lost_and_nothing_is_deleted(
    preempts: bool, state: str, of_cluster: bool
) -> None:
    with story(preempts=preempts) as life:
        life.until_ready()
        cluster = life.arm.cluster
        cluster.begin_own_operation(state, 3000, None if of_cluster else NAME)
        (before,) = list(life.nodes.by_name)
        node = life.nodes.by_name.pop(before)
        life.until(lambda it: it.clock.seconds() > 3000)
        assert reason_of(life) == "False/NodeUpdating"
        assert state in message(life)
        life.pass_time(700)
        life.nodes.by_name.setdefault(before, node)
        life.until_ready()
        assert (life.arm.count("DELETE"), cluster.preempted) == (0, [])


def test_an_upgrade_without_a_second_node_takes_the_only_one_and_brings_it_back() -> None:
    with story() as life:
        life.until_ready()
        life.arm.cluster.begin_own_operation("Upgrading", 1200, NAME)
        life.until(lambda it: reason_of(it) == "False/NodeUpdating")
        assert "only node is taken away" in message(life)
        life.until_ready()


def test_with_a_second_node_during_upgrades_the_machine_is_never_without() -> None:
    with story({"max_surge": 1}) as life:
        life.until_ready()
        life.arm.cluster.begin_own_operation("Upgrading", 1200, NAME)
        end = life.clock.seconds() + 1300
        while life.clock.seconds() < end:
            life.settle()
            assert len(life.nodes.by_name) >= 1
            life.pass_time(60)
        life.until_ready()


@pytest.mark.parametrize(("limit", "surge"), [(100, "1"), (6, "0")])
def test_a_second_node_is_asked_for_only_where_the_quota_has_room_for_it(
    limit: int, surge: str
) -> None:
    compute = Compute(limits={"standardNCSv3Family": limit})
    with story({"max_surge": 1, "location": "westeurope"}, compute=compute) as life:
        life.until_ready()
        found = json.loads(life.arm.cluster.get(NAME).body)["properties"]["upgradeSettings"]
        assert found["maxSurge"] == surge


@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_machine_that_goes_while_aks_is_at_work_waits_for_its_end(of_cluster: bool) -> None:
    with story(preempts=True) as life:
        life.until_ready()
        cluster = life.arm.cluster
        cluster.begin_own_operation("Starting", 900, None if of_cluster else NAME)
        life.delete()
        life.until(lambda it: it.clock.seconds() > 700)
        assert reason_of(life, "DeletionBlocked") == "True/AKSBusy"
        assert "Starting" in message(life)
        life.until_gone()
        assert (cluster.preempted, life.pools) == ([], [])


@pytest.mark.parametrize(
    ("properties", "goes"),
    [
        ({"provisioningState": "Succeeded"}, True),
        ({"provisioningState": "Failed", "powerState": {"code": "Running"}}, True),
        ({"provisioningState": "Succeeded", "powerState": {"code": "Stopped"}}, False),
        ({"powerState": {"code": "Running"}}, False),
        ({}, False),
    ],
)
def test_a_cluster_that_says_little_of_itself_is_read_with_care(
    properties: dict[str, Any], goes: bool
) -> None:
    with story() as life:
        life.until_ready()
        told = {"id": life.arm.cluster.id, "properties": properties}
        life.faults.always("CLUSTER", Fault(200, json.dumps(told).encode()))
        life.delete()
        life.until(lambda it: it.is_gone or it.clock.seconds() > 2000)
        assert life.is_gone == goes


# Rate limits


@pytest.mark.parametrize(
    "arrange",
    [
        lambda cluster: cluster.occupy("Updating", 10**6),
        lambda cluster: cluster.compute.limits.update(standardNCSv3Family=0),
        lambda cluster: cluster.compute.limits.update(standardNCSv3Family=1),
        lambda cluster: setattr(cluster, "lock", "ReadOnly"),
        lambda cluster: cluster.compute.not_offered.add(SIZE),
        lambda cluster: cluster.compute.free.update({SIZE: 0}),
        lambda cluster: cluster.compute.zones.clear(),
    ],
)
def test_three_hours_of_the_same_trouble_cost_few_requests_and_few_words(arrange: Any) -> None:
    """A retry each half minute was answered with 155 times 429, and changed the status 310 times."""
    with story({"zones": ("1",)}, compute=Compute(zones=["1"])) as life:
        arrange(life.arm.cluster)
        said: list[str] = []

        def listen(it: Any) -> bool:
            said.append(reason_of(it))
            return bool(it.clock.seconds() > 3 * 3600)

        life.until(listen, 4 * 3600)
        changes = sum(one != other for one, other in itertools.pairwise(said))
        assert life.arm.cluster.throttle.refused == 0
        assert len(puts(life)) <= 60
        assert changes <= 6


def test_a_reason_stays_while_azure_only_asks_for_time() -> None:
    slow = {"code": "Throttled", "message": "The PutAgentPoolHandler.PUT request limit"}
    with story() as life:
        life.arm.cluster.compute.limits["standardNCSv3Family"] = 0
        life.settle()
        assert reason_of(life) == "False/QuotaExceeded"
        life.faults.add("PUT", Fault(429, json.dumps(slow).encode()), times=3)
        for _ in range(20):
            life.step()
            assert reason_of(life) == "False/QuotaExceeded"
        assert 429 in puts(life)


# Etags


@pytest.mark.parametrize("deleted", [False, True])
def test_a_failed_pool_without_an_etag_is_deleted_all_the_same(deleted: bool) -> None:
    with story(hides_etags=True) as life:
        life.faults.script_next(
            Outcome("Failed", errors.provisioning_error(2026, "AllocationFailed"))
        )
        life.call()
        life.pass_time(300)
        if deleted:
            life.delete()
            life.until_gone()
        else:
            life.until(lambda it: it.pools == [], 1800)
            assert reason_of(life) == "False/InsufficientCapacity"
        assert life.pools == []


def test_an_etag_that_never_matches_is_not_a_hot_loop() -> None:
    unmet = {"code": "PreconditionFailed", "message": "The etag does not match."}
    with story() as life:
        life.faults.script_next(Outcome("Failed"))
        life.faults.add("DELETE", Fault(412, json.dumps(unmet).encode()), times=8)
        life.until(lambda it: it.pools == [], 1800)
        assert life.arm.count("DELETE") <= 12


# Set-up


@pytest.mark.parametrize("year", [2022, 2024, 2026])
@pytest.mark.parametrize("status", [50, 84, 124])
def test_a_node_whose_set_up_fails_is_made_three_times(year: Any, status: Any) -> None:
    with story() as life:
        life.faults.script_next(*[Outcome("Failed", errors.node_setup_failed(year, status))] * 9)
        life.until(lambda it: reason_of(it, "Stalled") == "True/NodeSetupFailed")
        life.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert (len(puts(life)), life.pools) == (3, [])
        assert "kubectl annotate machine" in message(life)
        life.parent["metadata"]["annotations"] = {"kaito.sh/retry": "now"}
        life.faults.unscript()
        life.until_ready()


def test_a_node_that_never_joins_is_made_three_times() -> None:
    with story() as life:
        life.faults.script_next(*[Outcome(has_node=False)] * 9)
        life.until(lambda it: reason_of(it, "Stalled") == "True/NodeNotFound", 5 * 3600)
        life.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert (len(puts(life)), life.pools) == (3, [])


# Labels


def test_labels_that_only_aks_may_set_are_left_out_of_the_request() -> None:
    labels = {"agentpool": "gpu", "accelerator": "nvidia", "app": "phi"}
    with story() as life:
        life.parent = machine(metadata={"labels": labels})
        life.until_ready()
        assert puts(life) == [201]


def test_what_azure_answered_is_in_the_log_with_its_ids() -> None:
    said = {
        "code": "BadRequest",
        "message": "no. Correlation ID: 65232780-1111-4000-8000-000000000001",
    }
    headers = {"x-ms-correlation-request-id": "c8117d01-2222-4000-8000-000000000002"}
    with story() as life:
        life.faults.add("PUT", Fault(400, json.dumps(said).encode(), headers))
        life.call()
        (line,) = [text for text in life.log.getvalue().splitlines() if "Provider refused" in text]
        found = json.loads(line)
        assert found["code"] == "BadRequest"
        assert found["name"] == NAME
        assert found["request_ids"] == [
            "c8117d01-2222-4000-8000-000000000002",
            "65232780-1111-4000-8000-000000000001",
        ]
        assert "65232780" not in json.dumps(life.status)
