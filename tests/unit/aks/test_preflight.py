"""The region is asked before the first PUT: the owner reads a refusal within seconds, and nothing was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.compute import Compute

from tests.harness.arm import Fault
from tests.unit.aks.machine_simulation import reason_of, simulated_machine
from tests.unit.aks.test_fault_table import DROPPED, arm_error
from tests.unit.machine.builders import NAME, SIZE, machine

HERE = {"location": "westeurope"}
FAMILY = "standardNCSv3Family"


def test_a_region_that_has_the_size_and_quota_is_asked_three_things_and_no_more() -> None:
    with simulated_machine(HERE) as simulation:
        simulation.call()
        assert [item.verb for item in simulation.arm.asked] == ["GET", "SKUS"]
        simulation.call()
        assert [item.verb for item in simulation.arm.asked[2:]] == ["GET", "USAGES", "PUT"]
        simulation.until_ready()


@pytest.mark.parametrize(
    ("compute", "reason", "said"),
    [
        (Compute(not_offered={SIZE}), "SkuNotAvailable", "NotAvailableForSubscription"),
        (Compute(limits={FAMILY: 0}), "QuotaExceeded", "limit 0, used 0, needed 6"),
        (
            Compute(limits={FAMILY: 12}, used={FAMILY: 8}),
            "QuotaExceeded",
            "limit 12, used 8, needed 6",
        ),
        (Compute(limits={"cores": 5}), "QuotaExceeded", "cores: limit 5"),
    ],
)
def test_what_the_region_can_not_give_is_told_before_anything_is_asked_for(
    compute: Any, reason: Any, said: Any
) -> None:
    with simulated_machine(HERE, compute=compute) as simulation:
        simulation.settle()
        simulation.pass_time(2)
        simulation.settle()
        assert reason_of(simulation) == f"False/{reason}"
        assert said in simulation.status["lastError"]["message"]
        assert simulation.arm.count("PUT") == 0


def test_a_pool_that_somebody_deleted_is_made_again() -> None:
    with simulated_machine(HERE) as simulation:
        simulation.until_ready()
        simulation.arm.cluster.delete(simulation.pools[0], Request("DELETE", "", {}, {}))
        simulation.pass_time(600)
        simulation.until(lambda it: it.arm.count("PUT") == 2)
        simulation.until_ready()


def test_a_size_that_azure_does_not_list_is_refused() -> None:
    with simulated_machine(HERE) as simulation:
        simulation.parent["spec"]["requirements"][0]["values"] = ["Standard_NC6"]
        simulation.until(lambda it: reason_of(it) == "False/SkuNotAvailable")
        assert (
            "Standard_NC6 is not offered in westeurope" in simulation.status["lastError"]["message"]
        )
        assert simulation.arm.count("PUT") == 0


def test_quota_that_is_granted_later_is_used_by_itself() -> None:
    with simulated_machine(HERE, compute=Compute(limits={FAMILY: 0})) as simulation:
        simulation.until(lambda it: reason_of(it) == "False/QuotaExceeded")
        simulation.arm.cluster.compute.limits.clear()
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize("verb", ["SKUS", "USAGES"])
@pytest.mark.parametrize(
    "fault",
    [
        arm_error(403, "AuthorizationFailed", "no"),
        Fault(500),
        Fault(200, b"{}"),
        Fault(200, b"[]"),
        Fault(200, json.dumps({"value": [None, {"name": None}, {"resourceType": 1}]}).encode()),
        arm_error(429, "Throttled"),
        DROPPED,
    ],
)
def test_without_the_rights_to_look_aks_itself_judges(verb: Any, fault: Fault) -> None:
    with simulated_machine(HERE) as simulation:
        simulation.faults.always(verb, fault)
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1
        assert simulation.arm.count(verb) <= 2


def test_many_machines_share_one_look() -> None:
    with simulated_machine(HERE) as simulation:
        for _ in range(50):
            simulation.provider.availability(SIZE, False)
        assert (simulation.arm.count("SKUS"), simulation.arm.count("USAGES")) == (1, 1)


def spot(*capacity: Any) -> Any:
    parent = machine()
    wanted = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(capacity)}
    parent["spec"]["requirements"].append(wanted)
    return parent


def priority(simulation: Any) -> Any:
    properties = json.loads(simulation.arm.cluster.get(NAME).body)["properties"]
    return properties.get("scaleSetPriority", "Regular")


def test_a_spot_machine_gets_a_spot_pool_and_its_node_says_so() -> None:
    with simulated_machine(HERE) as simulation:
        simulation.parent = spot("spot")
        simulation.until_ready()
        assert priority(simulation) == "Spot"
        (node,) = simulation.nodes.by_name.values()
        assert node["metadata"]["labels"]["kubernetes.azure.com/scalesetpriority"] == "spot"


@pytest.mark.parametrize(
    "compute", [Compute(free={f"spot/{SIZE}": 0}), Compute(limits={"lowPriorityCores": 0})]
)
def test_a_machine_that_prefers_spot_gets_a_regular_node_without_waiting_an_hour(
    compute: Any,
) -> None:
    with simulated_machine(compute=compute) as simulation:
        simulation.parent = spot("spot", "on-demand")
        simulation.until_ready(3000)
        assert priority(simulation) == "Regular"
        assert simulation.pools == [NAME]


def test_a_machine_that_requires_spot_waits_for_it() -> None:
    with simulated_machine(compute=Compute(free={f"spot/{SIZE}": 0})) as simulation:
        simulation.parent = spot("spot")
        simulation.until(lambda it: it.clock.seconds() > 3000)
        assert reason_of(simulation) == "False/InsufficientCapacity"
        simulation.arm.cluster.compute.free.clear()
        simulation.until_ready()
        assert priority(simulation) == "Spot"
