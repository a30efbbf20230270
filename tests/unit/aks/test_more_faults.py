"""The rows of the fault table that need more than one answer: overlaps, redirects, shapes, doubles."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_laptop.azure.interference import Outcome

from tests.harness.arm import Fault, failure
from tests.unit.aks.machine_simulation import reason_of, simulated_machine
from tests.unit.machine.builders import NAME, machine


def test_6_a_call_that_overlaps_a_put_waits_and_makes_no_second_pool() -> None:
    with simulated_machine() as simulation:
        sent, go_on = threading.Event(), threading.Event()
        handle = simulation.arm.router.handle

        def hold(request: Any) -> Any:
            if request.method == "PUT":
                sent.set()
                assert go_on.wait(10)
            return handle(request)

        simulation.arm.router.handle = hold
        before = dict(simulation.parent)
        first = threading.Thread(target=simulation.call)
        first.start()
        assert sent.wait(10)
        simulation.parent = before  # Metacontroller has stopped waiting and calls again.
        answer = simulation.call()
        assert [item["reason"] for item in answer["status"]["conditions"]] != []
        assert simulation.arm.count("PUT") == 0
        assert answer["resyncAfterSeconds"] >= 5
        go_on.set()
        first.join()
        simulation.arm.router.handle = handle
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("verb", ["GET", "LIST", "PUT", "DELETE"])
def test_24_a_redirect_is_followed_nowhere_with_or_without_the_token(
    status: Any, verb: Any
) -> None:
    with simulated_machine() as simulation, simulated_machine() as elsewhere:
        away = {"Location": f"{elsewhere.arm.url}{elsewhere.arm.cluster.id}/agentPools/{NAME}"}
        if verb == "DELETE":
            simulation.until_ready()
        if verb in ("LIST", "DELETE"):
            simulation.delete()
        simulation.faults.always(verb, Fault(status, b"", away))
        simulation.settle()
        simulation.pass_time(60)
        simulation.settle()
        assert elsewhere.arm.asked == []
        assert not simulation.is_gone
        assert reason_of(simulation, "ProviderTrouble").startswith("True/Provider")


def test_32_the_state_of_the_pool_counts_not_that_of_the_operation() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome("Failed", operation="Succeeded"))
        simulation.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(simulation) == "False/PoolFailed"
        simulation.until_ready()


def test_34_two_nodes_are_told_and_waited_for() -> None:
    with simulated_machine() as simulation:
        simulation.call()
        simulation.pass_time(240)
        (node,) = simulation.nodes.by_name.values()
        second = json.loads(json.dumps(node))
        second["metadata"]["name"] += "1"
        simulation.nodes.add(second)
        simulation.settle()
        assert reason_of(simulation) == "False/MultipleNodesFound"
        assert second["metadata"]["name"] in simulation.status["conditions"][2]["message"]
        simulation.nodes.remove(second["metadata"]["name"])
        simulation.until_ready()
        assert simulation.arm.count("DELETE") == 0


@pytest.mark.parametrize("shape", ["wrapped", "flat", "details", "inner"])
@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (400, "QuotaExceeded", "none left", "QuotaExceeded"),
        (400, "VMSizeNotSupported", "not here", "SkuNotAvailable"),
        (409, "SkuNotAvailable", "not here now", "InsufficientCapacity"),
        (403, "RequestDisallowedByPolicy", "no", "Forbidden"),
        (409, "OperationNotAllowed", "Another operation is in progress", "AKSBusy"),
    ],
)
def test_14_a_failure_is_understood_in_each_of_the_shapes_that_arm_gives_it(
    shape: Any, status: Any, code: Any, message: Any, reason: Any
) -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", Fault(status, failure(shape, code, message)))
        simulation.call()
        assert reason_of(simulation) == f"False/{reason}"


@pytest.mark.parametrize(
    ("storage", "gib"),
    [
        ("0", None),
        ("400", 30),
        ("50Gi", 50),
        ("1e3", 30),
        ("34Gi", 34),
        ("100Gi", 100),
        ("2Ti", 2048),
    ],
)
def test_60_a_disk_is_whole_gib_within_the_bounds_of_aks(storage: Any, gib: Any) -> None:
    parent = machine(spec={"resources": {"requests": {"storage": storage}}})
    with simulated_machine() as simulation:
        simulation.parent = parent
        simulation.until_ready()
        body = wanted_pool(Machine(parent), simulation.clock.now())
        assert body.disk_gib == gib
        assert simulation.arm.cluster.get(NAME).status == 200
        assert (
            json.loads(simulation.arm.cluster.get(NAME).body)["properties"].get("osDiskSizeGB")
            == gib
        )


@pytest.mark.parametrize("storage", ["-5", "99Ti", "much", "1e99"])
def test_60_a_disk_that_can_not_be_is_told_and_nothing_is_asked(storage: Any) -> None:
    with simulated_machine() as simulation:
        simulation.parent = machine(spec={"resources": {"requests": {"storage": storage}}})
        simulation.settle()
        assert reason_of(simulation) == "False/InvalidSpec"
        assert simulation.arm.asked == []


def test_55_a_server_that_says_nothing_is_given_up_within_seconds() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("GET", Fault(is_dropped=True))
        simulation.call()
        assert reason_of(simulation) == "Unknown/ProviderUnanswered"
        assert "read again" in simulation.status["lastError"]["message"]
        assert simulation.arm.count("PUT") == 0


def test_10_the_quota_of_the_subscription_is_a_wait_that_ends_when_there_is_some() -> None:
    with simulated_machine() as simulation:
        simulation.arm.cluster.compute.limits["standardNCSv3Family"] = 0
        simulation.settle()
        assert reason_of(simulation) == "False/QuotaExceeded"
        del simulation.arm.cluster.compute.limits["standardNCSv3Family"]
        simulation.until_ready()
