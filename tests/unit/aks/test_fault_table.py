"""The fault table (reference 6): the real Azure client against the stand-in, one row per test.

The numbers are those of the rows.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.machine.provider import PoolRef
from kaito_laptop.azure.interference import Outcome

from tests.harness.arm import Fault
from tests.unit.aks.machine_simulation import reason_of, simulated_machine
from tests.unit.machine.builders import NAME, UID

DROPPED = Fault(is_dropped=True)
APPLIED_AND_DROPPED = Fault(is_dropped=True, is_applied=True)


def arm_error(status: Any, code: Any, message: Any = "", details: Any = (), **headers: Any) -> Any:
    error = {"code": code, "message": message, "details": list(details)}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Fault(status, json.dumps({"error": error}).encode(), named)


def first_put(fault: Any, **more: Any) -> Any:
    """The answer to the first call, when PUT is answered with the fault."""
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", fault, **more)
        simulation.call()
        return simulation.answers[-1], simulation


# Creation


def test_1_one_put_and_launched_only_when_it_succeeded() -> None:
    with simulated_machine() as simulation:
        while reason_of(simulation) != "True/NodeReady":
            simulation.step()
            state = simulation.status["pool"].get("provisioningState")
            assert (reason_of(simulation, "MachineLaunched")[:4] == "True") == (
                state == "Succeeded"
            )
        assert simulation.arm.count("PUT") == 1


def test_2_a_pool_that_succeeds_at_once_is_accepted() -> None:
    with simulated_machine(create_seconds=0) as simulation:
        simulation.until_ready(60)
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[]", b"null"])
def test_3_an_accepted_pool_without_a_readable_body_is_read_next(body: Any) -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", Fault(201, body, is_applied=True))
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


def test_4_a_put_that_was_applied_and_dropped_is_found() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", APPLIED_AND_DROPPED)
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


def test_5_a_put_that_arrives_late_leaves_no_pool_behind() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", Fault(is_dropped=True, applied_after_seconds=40))
        simulation.call()
        simulation.pass_time(5)
        simulation.delete()
        simulation.until_gone()
        simulation.pass_time(600)
        assert simulation.pools == []
        assert simulation.arm.count("DELETE") == 1


def test_7_a_pool_that_appeared_and_is_ours_goes_on() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("GET", arm_error(404, "NotFound"))
        simulation.arm.cluster.add_pool(NAME, tags={"kaito.sh_machine-uid": UID})
        simulation.call()
        simulation.step()
        assert simulation.arm.count("PUT") == 1
        assert reason_of(simulation) == "False/NodeNotFound"


def test_7_a_pool_that_appeared_and_is_foreign_is_a_conflict() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("GET", arm_error(404, "NotFound"))
        simulation.arm.cluster.add_pool(NAME)
        simulation.call()
        simulation.step()
        assert reason_of(simulation) == "False/NameConflict"
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize(
    ("fault", "expected", "wait"),
    [
        (arm_error(409, "OperationNotAllowed", "Another operation (x - Updating) is in progress"),
         "False/AKSBusy", 30),
        (arm_error(409, "OperationNotAllowed",
                   "Operation is not allowed because there's an in progress create node pool "
                   "operation"), "False/Creating", 15),
        (arm_error(403, "OperationNotAllowed", "exceeding approved standardNCSv3 Family Cores "
                   "quota. Current Limit: 6"), "False/QuotaExceeded", 600),
        (arm_error(409, "OperationNotAllowed", "Family Cores quota, Current Limit: 0, Current "
                   "Usage: 0"), "False/QuotaExceeded", 3600),
        (arm_error(400, "ErrCode_InsufficientVCPUQuota", "Insufficient vcpu quota requested 6"),
         "False/QuotaExceeded", 600),
        (arm_error(400, "BadRequest", "The VM size of Standard_NC6s_v3 is not allowed in your "
                   "subscription in location 'westeurope'"), "False/SkuNotAvailable", 600),
        (arm_error(400, "InvalidTemplateDeployment", "The template is not valid",
                   [{"code": "QuotaExceeded", "message": "no quota"}]),
         "False/QuotaExceeded", 600),
        (arm_error(403, "AuthorizationFailed", "no write"), "False/Forbidden", 300),
        (arm_error(403, "RequestDisallowedByPolicy", "no GPUs"), "False/Forbidden", 300),
        (arm_error(429, "Throttled", Retry_After="60"), "False/Throttled", 60),
        (arm_error(429, "Throttled"), "False/Throttled", 30),
        (arm_error(429, "Throttled", Retry_After="soon"), "False/Throttled", 30),
        (arm_error(429, "Throttled", Retry_After="Thu, 01 Jan 2026 00:01:30 GMT"),
         "False/Throttled", 90),
        (arm_error(429, "Throttled", Retry_After="86400"), "False/Throttled", 900),
        (Fault(429, b"slow down"), "False/Throttled", 30),
        (arm_error(400, "BadRequest", "The cluster has reached the limit of 100 agent pools"),
         "False/PoolLimit", 600),
        (arm_error(400, "InvalidParameter", "no such size"), "False/InvalidRequest", 3600),
        (arm_error(400, "InsufficientSubnetSize", "subnet"), "False/SubnetFull", 600),
        (arm_error(409, "ZonalAllocationFailed", "none"), "False/InsufficientCapacity", 3600),
        (arm_error(409, "MissingSubscriptionRegistration", "x"), "Unknown/ConfigError", 15),
        (arm_error(401, "InvalidAuthenticationToken", "x"), "Unknown/Unauthorized", 15),
    ],
)  # fmt: skip
def test_8_to_18_and_63_64_a_refused_put_has_its_reason_and_its_wait(
    fault: Any, expected: Any, wait: Any
) -> None:
    answer, simulation = first_put(fault)
    assert reason_of(simulation) == expected
    assert wait <= answer["resyncAfterSeconds"] <= wait * 1.2
    assert simulation.arm.count("PUT") == 1
    assert [item.verb for item in simulation.arm.asked] == ["GET", "PUT"]


def test_8_a_busy_cluster_is_not_counted_as_a_failure() -> None:
    busy = arm_error(409, "OperationNotAllowed", "Another operation is in progress")
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", busy, times=3)
        simulation.until_ready()
        assert simulation.status["attempt"]["count"] == 1


def test_13_the_owner_reads_azures_own_words_and_what_to_do() -> None:
    said = "The VM size of Standard_NC6s_v3 is not allowed in your subscription in location 'x'."
    _, simulation = first_put(arm_error(400, "BadRequest", said))
    message = simulation.status["lastError"]["message"]
    assert said in message
    assert "`resource.instanceType`" in message


def test_17_no_put_before_the_time_that_azure_asked_for() -> None:
    with simulated_machine() as simulation:
        simulation.faults.add("PUT", arm_error(429, "Throttled", Retry_After="60"))
        simulation.settle()
        for _ in range(11):
            simulation.pass_time(5)
            simulation.settle()
        assert simulation.arm.count("PUT") == 1
        simulation.pass_time(6)
        simulation.settle()
        assert simulation.arm.count("PUT") == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_19_a_server_error_changes_nothing(status: Any) -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        before = {item["type"]: item["status"] for item in simulation.status["conditions"]}
        simulation.faults.always("LIST", Fault(status, b"<html>oops</html>"))
        simulation.pass_time(300)
        simulation.settle()
        after = {item["type"]: item["status"] for item in simulation.status["conditions"]}
        assert after == {**before, "ProviderTrouble": "True"}
        assert "<html>" not in json.dumps(simulation.status)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 503])
def test_20_a_retry_after_is_not_waited_for_inside_the_call(status: Any) -> None:
    _, simulation = first_put(arm_error(status, "Whatever", Retry_After="30"))
    assert simulation.arm.count("PUT") == 1


# Reading


def test_21_a_reader_that_lags_causes_no_second_put() -> None:
    with simulated_machine() as simulation:
        simulation.call()
        simulation.faults.always("GET", arm_error(404, "NotFound"))
        simulation.pass_time(40)
        simulation.settle()
        simulation.faults.always("GET", None)
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (arm_error(404, "ResourceGroupNotFound"), "ConfigError"),
        (arm_error(404, "ResourceNotFound"), "ConfigError"),
        (Fault(404, b"<html>not found</html>"), "ProviderUnreadable"),
        (Fault(404, b"{}"), "ProviderUnreadable"),
        (Fault(302, b"", {"Location": "http://192.0.2.1/"}), "ProviderUnreadable"),
        (Fault(200, b"{}"), "ProviderUnreadable"),
        (Fault(200, b"[]"), "ProviderUnreadable"),
        (Fault(200, b'{"name": "ws0123456789", "properties": null}'), "ProviderUnreadable"),
        (Fault(200, b'{"name": "ws0123456789", "properties": {}}'), "ProviderUnreadable"),
        (Fault(200, b'{"name": "another", "properties": {"provisioningState": "Failed"}}'),
         "ProviderUnreadable"),
        (Fault(200, b'{"name": "ws01'), "ProviderUnreadable"),
        (Fault(200, b""), "ProviderUnreadable"),
        (Fault(500, b""), "ProviderUnanswered"),
        (arm_error(403, "AuthorizationFailed"), "Forbidden"),
        (arm_error(401, "ExpiredAuthenticationToken"), "Unauthorized"),
        (arm_error(429, "Throttled"), "Throttled"),
        (DROPPED, "ProviderUnanswered"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_deleting", [False, True])
def test_16_22_to_27_what_is_not_clear_is_unknown_and_never_absent(
    fault: Any, expected: Any, is_deleting: Any
) -> None:
    with simulated_machine() as simulation:
        if is_deleting:
            simulation.delete()
        simulation.faults.always("GET", fault)
        simulation.settle()
        assert reason_of(simulation, "ProviderTrouble") == f"True/{expected}"
        assert not simulation.is_gone
        assert simulation.arm.count("PUT") == 0
        assert simulation.arm.count("DELETE") == 0


def test_26_a_state_that_nobody_knows_is_not_an_end() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome("Reticulating"))
        simulation.call()
        simulation.pass_time(300)
        simulation.settle()
        assert reason_of(simulation) == "False/Creating"
        assert simulation.status["pool"]["provisioningState"] == "Reticulating"


# Failure


def test_28_a_failed_allocation_is_deleted_and_tried_again_later() -> None:
    cause = {"code": "AllocationFailed", "message": "We do not have sufficient capacity"}
    error = {"code": "CreateVMSSAgentPoolFailed", "message": "failed", "details": [cause]}
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome("Failed", {"error": error}))
        simulation.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(simulation) == "False/InsufficientCapacity"
        simulation.until(lambda it: it.pools == [])
        began = simulation.clock.seconds()
        simulation.until_ready()
        assert simulation.clock.seconds() - began > 3000
        assert simulation.status["attempt"]["count"] == 2
        assert "lastError" not in simulation.status


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_29_31_a_pool_that_failed_without_a_word_is_deleted_and_tried_again(state: Any) -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome(state))
        simulation.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(simulation) == "False/PoolFailed"
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 2


def test_30_a_failed_pool_whose_node_works_is_kept() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.arm.cluster.set_pool(NAME, provisioningState="Failed")
        simulation.pass_time(300)
        simulation.settle()
        assert reason_of(simulation) == "True/NodeReady"
        assert reason_of(simulation, "Degraded") == "True/PoolFailed"
        assert simulation.arm.count("DELETE") == 0


def test_33_a_pool_whose_node_never_joins_is_deleted_and_tried_again() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome(has_node=False))
        simulation.until(lambda it: it.arm.count("DELETE") == 1)
        assert 15 * 60 <= simulation.clock.seconds() < 25 * 60
        simulation.until_ready()
        assert simulation.status["attempt"]["count"] == 2


def test_35_a_node_without_its_gpu_is_not_initialized() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome(gpus=0))
        simulation.until(lambda it: reason_of(it) == "False/ResourceNotRegistered")


# Ownership


def test_36_a_foreign_pool_of_the_same_name_is_never_touched_not_even_in_the_end() -> None:
    with simulated_machine() as simulation:
        simulation.arm.cluster.add_pool(NAME, tags={"kaito.sh_machine-uid": "someone-else"})
        simulation.settle()
        assert reason_of(simulation) == "False/NameConflict"
        simulation.delete()
        simulation.until_gone()
        assert simulation.pools == [NAME]
        assert (simulation.arm.count("PUT"), simulation.arm.count("DELETE")) == (0, 0)


@pytest.mark.parametrize(
    "mark",
    [
        {"tags": {"kaito.sh_machine-uid": UID}},
        {"tags": {"Kaito.sh_Machine-UID": UID}},
        {"nodeLabels": {"kaito.sh/machine-uid": UID}, "tags": None},
    ],
)
def test_37_38_a_pool_with_our_uid_in_tag_or_label_is_adopted(mark: Any) -> None:
    with simulated_machine() as simulation:
        simulation.arm.cluster.add_pool(NAME, **mark)
        simulation.settle()
        assert reason_of(simulation, "MachineLaunched") == "True/Launched"
        assert simulation.arm.count("PUT") == 0


def test_54_a_machine_that_was_made_again_waits_for_the_pool_of_the_first() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        simulation.settle()
        simulation.parent = {
            **simulation.parent,
            "metadata": {**simulation.parent["metadata"], "uid": "second"},
        }
        del simulation.parent["metadata"]["deletionTimestamp"]
        del simulation.parent["status"]
        simulation.settle()
        assert reason_of(simulation) == "False/NameConflict"
        simulation.pass_time(900)
        simulation.settle()
        assert simulation.arm.count("PUT") == 2


# Deletion


def test_39_one_delete_and_the_machine_goes_when_absence_is_proven() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        simulation.settle()
        began = simulation.clock.seconds()
        simulation.until_gone()
        assert simulation.arm.count("DELETE") == 1
        assert simulation.clock.seconds() - began >= 120 + 45
        assert simulation.pools == []


@pytest.mark.parametrize("status", [200, 202, 204, 404])
def test_40_no_answer_to_delete_is_proof(status: Any) -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        fault = arm_error(404, "NotFound") if status == 404 else Fault(status)
        simulation.faults.add("DELETE", fault)  # Says so, and does nothing.
        simulation.settle()
        assert not simulation.is_gone
        simulation.until_gone()
        assert simulation.pools == []


def test_41_a_pool_that_can_not_be_deleted_while_it_is_created_is_asked_for_again() -> None:
    with simulated_machine(is_deletable_while_creating=False, create_seconds=1200) as simulation:
        simulation.call()
        simulation.delete()
        simulation.until(lambda it: it.clock.seconds() > 400)
        assert not simulation.is_gone
        assert reason_of(simulation, "DeletionBlocked") == "True/AKSBusy"
        simulation.until_gone()
        assert simulation.pools == []


@pytest.mark.parametrize("times", [1, 8])
def test_42_an_etag_that_does_not_match_does_not_keep_the_pool(times: Any) -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        simulation.faults.add("DELETE", arm_error(412, "PreconditionFailed"), times=times)
        simulation.until_gone()
        assert simulation.pools == []


def test_43_a_deletion_that_ends_in_failure_is_asked_for_again() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        simulation.settle()
        simulation.arm.cluster.set_pool(NAME, provisioningState="Failed")
        simulation.until_gone()
        assert simulation.arm.count("DELETE") == 2
        assert simulation.pools == []


def test_44_an_hour_of_throttling_keeps_the_machine_and_spaces_the_calls() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.delete()
        asked = len(simulation.arm.asked)
        for verb in ("GET", "LIST", "DELETE"):
            simulation.faults.always(verb, arm_error(429, "Throttled", Retry_After="120"))
        simulation.until(lambda it: it.clock.seconds() > 4000)
        assert not simulation.is_gone
        assert len(simulation.arm.asked) - asked <= 35
        for verb in ("GET", "LIST", "DELETE"):
            simulation.faults.always(verb, None)
        simulation.until_gone()
        assert simulation.pools == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(200, b"{}"),
        Fault(200, b'{"value": []}'),
        Fault(200, b'{"value": null}'),
        Fault(200, b'{"value": [null]}'),
        Fault(200, b'{"value": [], "nextLink": "http://192.0.2.1/next"}'),
        Fault(500),
        DROPPED,
    ],
)
def test_45_a_list_that_is_not_whole_proves_no_absence(fault: Any) -> None:
    with simulated_machine() as simulation:
        simulation.delete()
        simulation.faults.always("LIST", fault)
        simulation.until(lambda it: it.clock.seconds() > 300)
        assert not simulation.is_gone


def test_45_a_list_whose_second_page_fails_proves_no_absence() -> None:
    with simulated_machine(page_size=1) as simulation:
        simulation.arm.cluster.add_pool("zzz")
        simulation.delete()
        for _ in range(40):
            simulation.faults.add("LIST", Fault())
            simulation.faults.add("LIST", DROPPED)
        simulation.until(lambda it: it.clock.seconds() > 300)
        assert not simulation.is_gone
        assert simulation.arm.count("LIST") >= 4


def test_45_all_pages_of_a_list_are_read() -> None:
    with simulated_machine(page_size=1) as simulation:
        simulation.arm.cluster.add_pool("another")
        simulation.delete()
        simulation.until_gone()


# Status


def test_49_an_edited_status_leads_to_no_other_pool_and_is_corrected() -> None:
    with simulated_machine() as simulation:
        simulation.arm.cluster.add_pool("another")
        simulation.until_ready()
        good = simulation.status
        simulation.parent["status"] = {
            **good,
            "providerID": "azure:///elsewhere",
            "nodeName": "http://192.0.2.1/",
            "pool": {"name": "another", "provisioningState": "Failed"},
        }
        simulation.settle()
        assert simulation.status == good
        assert {item.pool for item in simulation.arm.asked} == {NAME, ""}


def test_50_a_stale_parent_causes_no_second_put() -> None:
    with simulated_machine() as simulation:
        for _ in range(5):
            simulation.parent.pop("status", None)
            simulation.call()
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


def test_51_58_a_status_that_was_lost_after_the_put_is_made_up_again() -> None:
    with simulated_machine() as simulation:
        simulation.call()
        del simulation.parent["status"]
        simulation.until_ready()
        assert simulation.arm.count("PUT") == 1


@pytest.mark.parametrize("after", [0, 1, 100, 400])
def test_52_whenever_a_machine_is_deleted_no_pool_is_left(after: Any) -> None:
    with simulated_machine() as simulation:
        if after:
            simulation.call()
            simulation.pass_time(after)
        simulation.delete()
        simulation.until_gone()
        assert simulation.pools == []
        assert simulation.nodes.by_name == {}


def test_52_a_machine_that_is_deleted_while_its_pool_failed_leaves_none() -> None:
    with simulated_machine() as simulation:
        simulation.faults.script_next(Outcome("Failed"))
        simulation.call()
        simulation.pass_time(250)
        simulation.delete()
        simulation.until_gone()
        assert simulation.pools == []


def test_53_the_second_machine_of_a_name_never_touches_the_pool_of_the_first() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        first = simulation.parent
        meta = {**first["metadata"], "namespace": "other", "uid": "second"}
        simulation.parent = {**first, "metadata": meta, "status": {}}
        simulation.settle()
        assert reason_of(simulation) == "False/NameConflict"
        simulation.delete()
        simulation.until_gone()
        assert simulation.pools == [NAME]
        assert simulation.arm.count("DELETE") == 0


def test_59_a_clock_that_jumps_deletes_nothing_and_does_not_wait_for_ever() -> None:
    with simulated_machine() as simulation:
        simulation.until_ready()
        simulation.pass_time(3600)
        simulation.settle()
        assert reason_of(simulation) == "True/NodeReady"
        simulation.parent["status"]["attempt"]["retryAfter"] = "2031-01-01T00:00:00Z"
        simulation.delete()
        simulation.parent["status"]["absentSince"] = "2031-01-01T00:00:00Z"
        simulation.until_gone()
        assert simulation.pools == []


def test_57_many_machines_share_one_list() -> None:
    with simulated_machine() as simulation:
        simulation.call()
        simulation.pass_time(11)
        lists = simulation.arm.count("LIST")
        for index in range(60):
            simulation.provider.get(PoolRef(f"ws{index}", "u"), fresh=False)
        assert simulation.arm.count("LIST") == lists + 1


# Reaching Azure


def test_55_a_refused_connection_is_unknown_within_seconds() -> None:
    with simulated_machine() as simulation:
        simulation.arm.stop()
        simulation.call()
        assert reason_of(simulation) == "Unknown/ProviderUnreachable"
        simulation.arm.stop = lambda: None


def test_4_16_76_no_token_and_no_body_is_ever_in_a_log_or_a_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "Bearer eyJhbGciOi.J9.abc at https://x.example/?sig=hunter2 for stand-in"
    with simulated_machine() as simulation, caplog.at_level("DEBUG"):
        simulation.faults.add("PUT", arm_error(400, "BadRequest", secret))
        simulation.settle()
        said = json.dumps(simulation.status) + simulation.log.getvalue() + caplog.text
        assert "BadRequest" in said
        for word in ("eyJhbGciOi", "hunter2", "Bearer stand-in"):
            assert word not in said


def test_17_timestamps_are_never_earlier_than_asked() -> None:
    with simulated_machine() as simulation:
        simulation.clock.advance_to(0.4)
        simulation.faults.add("PUT", arm_error(429, "Throttled", Retry_After="60"))
        simulation.call()
        assert simulation.status["attempt"]["retryAfter"] > timestamp(simulation.clock.now())
        assert simulation.status["attempt"]["retryAfter"].endswith("00:01:01Z")
