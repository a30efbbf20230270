"""A Machine's simulation beside an AKS that answers as the real one does: what it refuses, what it does by itself."""

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
from tests.unit.aks.machine_simulation import reason_of, simulated_machine
from tests.unit.aks.test_preflight import priority, spot
from tests.unit.machine.builders import NAME, SIZE, machine


def message(simulation: Any, type_: str = "Ready") -> str:
    return next(
        str(item["message"]) for item in simulation.status["conditions"] if item["type"] == type_
    )


def puts(simulation: Any) -> list[int]:
    return [item.status for item in simulation.arm.asked if item.verb == "PUT"]


# Spot


@pytest.mark.parametrize("max_surge", [0, 1])
def test_a_spot_pool_is_accepted_at_the_first_try(max_surge: int) -> None:
    with simulated_machine({"max_surge": max_surge}) as simulation:
        simulation.parent = spot("spot")
        simulation.until_ready()
        assert (priority(simulation), puts(simulation)) == ("Spot", [201])


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
    with simulated_machine() as simulation:
        simulation.parent = spot("spot", "on-demand")
        simulation.faults.add("PUT", Fault(400, body))
        simulation.until_ready(1200)
        assert (priority(simulation), puts(simulation)) == ("Regular", [400, 201])


def test_a_machine_that_must_be_spot_says_that_azure_makes_none() -> None:
    said = {"code": "InvalidParameter", "message": "Spot is not supported for this size."}
    with simulated_machine() as simulation:
        simulation.parent = spot("spot")
        simulation.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        simulation.until(lambda it: reason_of(it) == "False/SpotRefused")
        assert reason_of(simulation, "Stalled") == "True/SpotRefused"
        assert "`resource.spot`" in message(simulation)


def test_a_spot_node_that_azure_has_none_of_is_asked_for_again_after_an_hour() -> None:
    with simulated_machine(compute=Compute(free={f"spot/{SIZE}": 0})) as simulation:
        simulation.parent = spot("spot")
        simulation.until(lambda it: it.arm.count("PUT") == 2)
        assert 3600 <= simulation.clock.seconds() <= 3 * 3600


# AKS Automatic


def test_a_cluster_whose_system_nodes_aks_hosts_is_believed() -> None:
    with simulated_machine(hosted_system=True) as simulation:
        simulation.until_ready()
        simulation.arm.cluster.delete(NAME, Request("DELETE", "", {}, {}))
        simulation.until(lambda it: len(puts(it)) == 2)
        simulation.until_ready()
        simulation.delete()
        simulation.until_gone()
        assert simulation.pools == []


def test_an_empty_list_of_a_cluster_that_hosts_nothing_is_not() -> None:
    with simulated_machine() as simulation:
        simulation.faults.always("LIST", Fault(200, b'{"value": []}'))
        simulation.delete()
        simulation.until(lambda it: it.clock.seconds() > 600)
        assert not simulation.is_gone
        assert reason_of(simulation, "ProviderTrouble") == "True/ProviderUnreadable"


def test_nor_is_the_word_of_another_cluster() -> None:
    other = {"id": "/subscriptions/x", "properties": {"hostedSystemProfile": {"enabled": True}}}
    with simulated_machine() as simulation:
        simulation.faults.always("LIST", Fault(200, b'{"value": []}'))
        simulation.faults.always("CLUSTER", Fault(200, json.dumps(other).encode()))
        simulation.delete()
        simulation.until(lambda it: it.clock.seconds() > 600)
        assert not simulation.is_gone


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
    with simulated_machine() as simulation:
        for name, value in block.items():
            setattr(simulation.arm.cluster.guards, name, value)
        simulation.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert reason_of(simulation) == "False/Forbidden"
        assert reason_of(simulation, "Stalled") == "True/Forbidden"
        assert message(simulation).startswith(words)
        assert len(puts(simulation)) <= 32
        for name in block:
            setattr(simulation.arm.cluster.guards, name, None if name == "policy" else "")
        simulation.until_ready()


@pytest.mark.parametrize("lock", ["CanNotDelete", "ReadOnly"])
def test_a_lock_keeps_a_node_only_as_long_as_it_is_there(lock: str) -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.arm.cluster.guards.lock = lock
        simulation.delete()
        simulation.until(lambda it: it.clock.seconds() > 2 * 3600)
        assert reason_of(simulation, "DeletionBlocked") == "True/Forbidden"
        simulation.arm.cluster.guards.lock = ""
        simulation.until_gone(600)
        assert simulation.pools == []


# Settings


def test_a_setting_that_azure_refuses_is_named_and_asked_again_at_once_when_it_is_mended() -> None:
    with simulated_machine({"zones": ("3",)}, compute=Compute(zones=("1", "2"))) as simulation:
        simulation.until(lambda it: it.clock.seconds() > 5 * 3600, 6 * 3600)
        assert reason_of(simulation) == "False/SettingRefused"
        assert reason_of(simulation, "Stalled") == "True/SettingRefused"
        assert "KAITO_POOL_ZONES" in message(simulation)
        assert "The supported zones for location westeurope are 1,2" in message(simulation)
        assert len(puts(simulation)) <= 4
        simulation.restart(zones=("1",))
        simulation.until_ready(1200)


def test_what_is_not_a_setting_is_the_machines() -> None:
    said = {"code": "InvalidParameter", "message": "The zone(s) '3' is not supported."}
    with simulated_machine() as simulation:
        simulation.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        simulation.until(lambda it: reason_of(it) == "False/InvalidRequest")


def test_too_many_pools_are_told_as_such() -> None:
    with simulated_machine(most_pools=1) as simulation:
        simulation.until(lambda it: reason_of(it) == "False/PoolLimit")


def test_a_cluster_that_is_too_old_is_told_as_such() -> None:
    said = {
        "code": "AgentPoolK8sVersionNotSupported",
        "message": "Version 1.18.19 is not supported.",
    }
    with simulated_machine() as simulation:
        simulation.faults.always("PUT", Fault(400, json.dumps(said).encode()))
        simulation.until(lambda it: reason_of(it) == "False/ClusterOutdated")
        assert "az aks upgrade" in message(simulation)


# What AKS does by itself


@pytest.mark.parametrize("preempts", [False, True])
@pytest.mark.parametrize(
    "state", ["Starting", "Upgrading", "UpgradingNodeImageVersion", "Updating"]
)
@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_node_that_aks_is_at_work_on_is_not_lost_and_nothing_is_deleted(
    preempts: bool, state: str, of_cluster: bool
) -> None:
    with simulated_machine(preempts=preempts) as simulation:
        simulation.until_ready()
        cluster = simulation.arm.cluster
        cluster.begin_own_operation(state, 3000, None if of_cluster else NAME)
        (before,) = list(simulation.nodes.by_name)
        node = simulation.nodes.by_name.pop(before)
        simulation.until(lambda it: it.clock.seconds() > 3000)
        assert reason_of(simulation) == "False/NodeUpdating"
        assert state in message(simulation)
        simulation.pass_time(700)
        simulation.nodes.by_name.setdefault(before, node)
        simulation.until_ready()
        assert (simulation.arm.count("DELETE"), cluster.preempted) == (0, [])


def test_an_upgrade_without_a_second_node_takes_the_only_one_and_brings_it_back() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.arm.cluster.begin_own_operation("Upgrading", 1200, NAME)
        simulation.until(lambda it: reason_of(it) == "False/NodeUpdating")
        assert "only node is taken away" in message(simulation)
        simulation.until_ready()


def test_with_a_second_node_during_upgrades_the_machine_is_never_without() -> None:
    with simulated_machine({"max_surge": 1}) as simulation:
        simulation.until_ready()
        simulation.arm.cluster.begin_own_operation("Upgrading", 1200, NAME)
        end = simulation.clock.seconds() + 1300
        while simulation.clock.seconds() < end:
            simulation.settle()
            assert len(simulation.nodes.by_name) >= 1
            simulation.pass_time(60)
        simulation.until_ready()


@pytest.mark.parametrize(("limit", "surge"), [(100, "1"), (6, "0")])
def test_a_second_node_is_asked_for_only_where_the_quota_has_room_for_it(
    limit: int, surge: str
) -> None:
    compute = Compute(limits={"standardNCSv3Family": limit})
    with simulated_machine(
        {"max_surge": 1, "location": "westeurope"}, compute=compute
    ) as simulation:
        simulation.until_ready()
        found = json.loads(simulation.arm.cluster.get(NAME).body)["properties"]["upgradeSettings"]
        assert found["maxSurge"] == surge


@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_machine_that_goes_while_aks_is_at_work_waits_for_its_end(of_cluster: bool) -> None:
    with simulated_machine(preempts=True) as simulation:
        simulation.until_ready()
        cluster = simulation.arm.cluster
        cluster.begin_own_operation("Starting", 900, None if of_cluster else NAME)
        simulation.delete()
        simulation.until(lambda it: it.clock.seconds() > 700)
        assert reason_of(simulation, "DeletionBlocked") == "True/AKSBusy"
        assert "Starting" in message(simulation)
        simulation.until_gone()
        assert (cluster.preempted, simulation.pools) == ([], [])


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
    with simulated_machine() as simulation:
        simulation.until_ready()
        told = {"id": simulation.arm.cluster.id, "properties": properties}
        simulation.faults.always("CLUSTER", Fault(200, json.dumps(told).encode()))
        simulation.delete()
        simulation.until(lambda it: it.is_gone or it.clock.seconds() > 2000)
        assert simulation.is_gone == goes


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
    with simulated_machine({"zones": ("1",)}, compute=Compute(zones=["1"])) as simulation:
        arrange(simulation.arm.cluster)
        said: list[str] = []

        def listen(it: Any) -> bool:
            said.append(reason_of(it))
            return bool(it.clock.seconds() > 3 * 3600)

        simulation.until(listen, 4 * 3600)
        changes = sum(one != other for one, other in itertools.pairwise(said))
        assert simulation.arm.cluster.throttle.refused == 0
        assert len(puts(simulation)) <= 60
        assert changes <= 6


def test_a_reason_stays_while_azure_only_asks_for_time() -> None:
    slow = {"code": "Throttled", "message": "The PutAgentPoolHandler.PUT request limit"}
    with simulated_machine() as simulation:
        simulation.arm.cluster.compute.limits["standardNCSv3Family"] = 0
        simulation.settle()
        assert reason_of(simulation) == "False/QuotaExceeded"
        simulation.faults.add("PUT", Fault(429, json.dumps(slow).encode()), times=3)
        for _ in range(20):
            simulation.step()
            assert reason_of(simulation) == "False/QuotaExceeded"
        assert 429 in puts(simulation)


# Etags


@pytest.mark.parametrize("deleted", [False, True])
def test_a_failed_pool_without_an_etag_is_deleted_all_the_same(deleted: bool) -> None:
    with simulated_machine(hides_etags=True) as simulation:
        simulation.faults.script_next(
            Outcome("Failed", errors.provisioning_error(2026, "AllocationFailed"))
        )
        simulation.call()
        simulation.pass_time(300)
        if deleted:
            simulation.delete()
            simulation.until_gone()
        else:
            simulation.until(lambda it: it.pools == [], 1800)
            assert reason_of(simulation) == "False/InsufficientCapacity"
        assert simulation.pools == []


def test_an_etag_that_never_matches_is_not_a_hot_loop() -> None:
    unmet = {"code": "PreconditionFailed", "message": "The etag does not match."}
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome("Failed"))
        simulation.faults.add("DELETE", Fault(412, json.dumps(unmet).encode()), times=8)
        simulation.until(lambda it: it.pools == [], 1800)
        assert simulation.arm.count("DELETE") <= 12


# Set-up


@pytest.mark.parametrize("year", [2022, 2024, 2026])
@pytest.mark.parametrize("status", [50, 84, 124])
def test_a_node_whose_set_up_fails_is_made_three_times(year: Any, status: Any) -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(
            *[Outcome("Failed", errors.node_setup_failed(year, status))] * 9
        )
        simulation.until(lambda it: reason_of(it, "Stalled") == "True/NodeSetupFailed")
        simulation.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert (len(puts(simulation)), simulation.pools) == (3, [])
        assert "kubectl annotate machine" in message(simulation)
        simulation.parent["metadata"]["annotations"] = {"kaito.sh/retry": "now"}
        simulation.faults.unscript()
        simulation.until_ready()


def test_a_node_that_never_joins_is_made_three_times() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(*[Outcome(has_node=False)] * 9)
        simulation.until(lambda it: reason_of(it, "Stalled") == "True/NodeNotFound", 5 * 3600)
        simulation.until(lambda it: it.clock.seconds() > 24 * 3600, 25 * 3600)
        assert (len(puts(simulation)), simulation.pools) == (3, [])


# Labels


def test_labels_that_only_aks_may_set_are_left_out_of_the_request() -> None:
    labels = {"agentpool": "gpu", "accelerator": "nvidia", "app": "phi"}
    with simulated_machine() as simulation:
        simulation.parent = machine(metadata={"labels": labels})
        simulation.until_ready()
        assert puts(simulation) == [201]


def test_what_azure_answered_is_in_the_log_with_its_ids() -> None:
    said = {
        "code": "BadRequest",
        "message": "no. Correlation ID: 65232780-1111-4000-8000-000000000001",
    }
    headers = {"x-ms-correlation-request-id": "c8117d01-2222-4000-8000-000000000002"}
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", Fault(400, json.dumps(said).encode(), headers))
        simulation.call()
        (line,) = [
            text for text in simulation.log.getvalue().splitlines() if "Provider refused" in text
        ]
        found = json.loads(line)
        assert found["code"] == "BadRequest"
        assert found["name"] == NAME
        assert found["request_ids"] == [
            "c8117d01-2222-4000-8000-000000000002",
            "65232780-1111-4000-8000-000000000001",
        ]
        assert "65232780" not in json.dumps(simulation.status)
