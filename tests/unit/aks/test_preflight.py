"""The region is asked before the first PUT: the owner reads a refusal within seconds, and nothing was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaito_laptop.azure.answers import Request
from kaito_laptop.azure.compute import Compute

from tests.harness.arm import Fault
from tests.unit.aks.story import reason_of, story
from tests.unit.aks.test_fault_table import DROPPED, arm_error
from tests.unit.machine.builders import NAME, SIZE, machine

HERE = {"location": "westeurope"}
FAMILY = "standardNCSv3Family"


def test_a_region_that_has_the_size_and_quota_is_asked_three_things_and_no_more() -> None:
    with story(HERE) as life:
        life.call()
        assert [item.verb for item in life.arm.asked] == ["GET", "SKUS"]
        life.call()
        assert [item.verb for item in life.arm.asked[2:]] == ["GET", "USAGES", "PUT"]
        life.until_ready()


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
    with story(HERE, compute=compute) as life:
        life.settle()
        life.pass_time(2)
        life.settle()
        assert reason_of(life) == f"False/{reason}"
        assert said in life.status["lastError"]["message"]
        assert life.arm.count("PUT") == 0


def test_a_pool_that_somebody_deleted_is_made_again() -> None:
    with story(HERE) as life:
        life.until_ready()
        life.arm.cluster.delete(life.pools[0], Request("DELETE", "", {}, {}))
        life.pass_time(600)
        life.until(lambda it: it.arm.count("PUT") == 2)
        life.until_ready()


def test_a_size_that_azure_does_not_list_is_refused() -> None:
    with story(HERE) as life:
        life.parent["spec"]["requirements"][0]["values"] = ["Standard_NC6"]
        life.until(lambda it: reason_of(it) == "False/SkuNotAvailable")
        assert "Standard_NC6 is not offered in westeurope" in life.status["lastError"]["message"]
        assert life.arm.count("PUT") == 0


def test_quota_that_is_granted_later_is_used_by_itself() -> None:
    with story(HERE, compute=Compute(limits={FAMILY: 0})) as life:
        life.until(lambda it: reason_of(it) == "False/QuotaExceeded")
        life.arm.cluster.compute.limits.clear()
        life.until_ready()
        assert life.arm.count("PUT") == 1


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
    with story(HERE) as life:
        life.faults.always(verb, fault)
        life.until_ready()
        assert life.arm.count("PUT") == 1
        assert life.arm.count(verb) <= 2


def test_many_machines_share_one_look() -> None:
    with story(HERE) as life:
        for _ in range(50):
            life.provider.availability(SIZE, False)
        assert (life.arm.count("SKUS"), life.arm.count("USAGES")) == (1, 1)


def spot(*capacity: Any) -> Any:
    parent = machine()
    wanted = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(capacity)}
    parent["spec"]["requirements"].append(wanted)
    return parent


def priority(life: Any) -> Any:
    properties = json.loads(life.arm.cluster.get(NAME).body)["properties"]
    return properties.get("scaleSetPriority", "Regular")


def test_a_spot_machine_gets_a_spot_pool_and_its_node_says_so() -> None:
    with story(HERE) as life:
        life.parent = spot("spot")
        life.until_ready()
        assert priority(life) == "Spot"
        (node,) = life.nodes.by_name.values()
        assert node["metadata"]["labels"]["kubernetes.azure.com/scalesetpriority"] == "spot"


@pytest.mark.parametrize(
    "compute", [Compute(free={f"spot/{SIZE}": 0}), Compute(limits={"lowPriorityCores": 0})]
)
def test_a_machine_that_prefers_spot_gets_a_regular_node_without_waiting_an_hour(
    compute: Any,
) -> None:
    with story(compute=compute) as life:
        life.parent = spot("spot", "on-demand")
        life.until_ready(3000)
        assert priority(life) == "Regular"
        assert life.pools == [NAME]


def test_a_machine_that_requires_spot_waits_for_it() -> None:
    with story(compute=Compute(free={f"spot/{SIZE}": 0})) as life:
        life.parent = spot("spot")
        life.until(lambda it: it.clock.seconds() > 3000)
        assert reason_of(life) == "False/InsufficientCapacity"
        life.arm.cluster.compute.free.clear()
        life.until_ready()
        assert priority(life) == "Spot"
