"""The rows of the fault table that need more than one answer: overlaps, redirects, shapes, doubles."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_laptop.azure.interference import Outcome

from tests.harness.arm import Fault, failure
from tests.unit.aks.story import reason_of, story
from tests.unit.machine.builders import NAME, machine


def test_6_a_call_that_overlaps_a_put_waits_and_makes_no_second_pool() -> None:
    with story() as life:
        sent, go_on = threading.Event(), threading.Event()
        handle = life.arm.router.handle

        def hold(request: Any) -> Any:
            if request.method == "PUT":
                sent.set()
                assert go_on.wait(10)
            return handle(request)

        life.arm.router.handle = hold
        before = dict(life.parent)
        first = threading.Thread(target=life.call)
        first.start()
        assert sent.wait(10)
        life.parent = before  # Metacontroller has stopped waiting and calls again.
        answer = life.call()
        assert [item["reason"] for item in answer["status"]["conditions"]] != []
        assert life.arm.count("PUT") == 0
        assert answer["resyncAfterSeconds"] >= 5
        go_on.set()
        first.join()
        life.arm.router.handle = handle
        life.until_ready()
        assert life.arm.count("PUT") == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("verb", ["GET", "LIST", "PUT", "DELETE"])
def test_24_a_redirect_is_followed_nowhere_with_or_without_the_token(
    status: Any, verb: Any
) -> None:
    with story() as life, story() as elsewhere:
        away = {"Location": f"{elsewhere.arm.url}{elsewhere.arm.cluster.id}/agentPools/{NAME}"}
        if verb == "DELETE":
            life.until_ready()
        if verb in ("LIST", "DELETE"):
            life.delete()
        life.faults.always(verb, Fault(status, b"", away))
        life.settle()
        life.pass_time(60)
        life.settle()
        assert elsewhere.arm.asked == []
        assert not life.is_gone
        assert reason_of(life, "ProviderTrouble").startswith("True/Provider")


def test_32_the_state_of_the_pool_counts_not_that_of_the_operation() -> None:
    with story() as life:
        life.faults.script_next(Outcome("Failed", operation="Succeeded"))
        life.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(life) == "False/PoolFailed"
        life.until_ready()


def test_34_two_nodes_are_told_and_waited_for() -> None:
    with story() as life:
        life.call()
        life.pass_time(240)
        (node,) = life.nodes.by_name.values()
        second = json.loads(json.dumps(node))
        second["metadata"]["name"] += "1"
        life.nodes.add(second)
        life.settle()
        assert reason_of(life) == "False/MultipleNodesFound"
        assert second["metadata"]["name"] in life.status["conditions"][2]["message"]
        life.nodes.remove(second["metadata"]["name"])
        life.until_ready()
        assert life.arm.count("DELETE") == 0


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
    with story() as life:
        life.faults.add("PUT", Fault(status, failure(shape, code, message)))
        life.call()
        assert reason_of(life) == f"False/{reason}"


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
    with story() as life:
        life.parent = parent
        life.until_ready()
        body = wanted_pool(Machine(parent), life.clock.now())
        assert body.disk_gib == gib
        assert life.arm.cluster.get(NAME).status == 200
        assert json.loads(life.arm.cluster.get(NAME).body)["properties"].get("osDiskSizeGB") == gib


@pytest.mark.parametrize("storage", ["-5", "99Ti", "much", "1e99"])
def test_60_a_disk_that_can_not_be_is_told_and_nothing_is_asked(storage: Any) -> None:
    with story() as life:
        life.parent = machine(spec={"resources": {"requests": {"storage": storage}}})
        life.settle()
        assert reason_of(life) == "False/InvalidSpec"
        assert life.arm.asked == []


def test_55_a_server_that_says_nothing_is_given_up_within_seconds() -> None:
    with story() as life:
        life.faults.add("GET", Fault(is_dropped=True))
        life.call()
        assert reason_of(life) == "Unknown/ProviderUnanswered"
        assert "read again" in life.status["lastError"]["message"]
        assert life.arm.count("PUT") == 0


def test_10_the_quota_of_the_subscription_is_a_wait_that_ends_when_there_is_some() -> None:
    with story() as life:
        life.arm.cluster.compute.limits["standardNCSv3Family"] = 0
        life.settle()
        assert reason_of(life) == "False/QuotaExceeded"
        del life.arm.cluster.compute.limits["standardNCSv3Family"]
        life.until_ready()
