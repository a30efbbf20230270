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
from tests.unit.aks.story import reason_of, story
from tests.unit.machine.builders import NAME, UID

DROPPED = Fault(is_dropped=True)
APPLIED_AND_DROPPED = Fault(is_dropped=True, is_applied=True)


def arm_error(status: Any, code: Any, message: Any = "", details: Any = (), **headers: Any) -> Any:
    error = {"code": code, "message": message, "details": list(details)}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Fault(status, json.dumps({"error": error}).encode(), named)


def first_put(fault: Any, **more: Any) -> Any:
    """The answer to the first call, when PUT is answered with the fault."""
    with story() as life:
        life.faults.add("PUT", fault, **more)
        life.call()
        return life.answers[-1], life


# Creation


def test_1_one_put_and_launched_only_when_it_succeeded() -> None:
    with story() as life:
        while reason_of(life) != "True/NodeReady":
            life.step()
            state = life.status["pool"].get("provisioningState")
            assert (reason_of(life, "MachineLaunched")[:4] == "True") == (state == "Succeeded")
        assert life.arm.count("PUT") == 1


def test_2_a_pool_that_succeeds_at_once_is_accepted() -> None:
    with story(create_seconds=0) as life:
        life.until_ready(60)
        assert life.arm.count("PUT") == 1


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[]", b"null"])
def test_3_an_accepted_pool_without_a_readable_body_is_read_next(body: Any) -> None:
    with story() as life:
        life.faults.add("PUT", Fault(201, body, is_applied=True))
        life.until_ready()
        assert life.arm.count("PUT") == 1


def test_4_a_put_that_was_applied_and_dropped_is_found() -> None:
    with story() as life:
        life.faults.add("PUT", APPLIED_AND_DROPPED)
        life.until_ready()
        assert life.arm.count("PUT") == 1


def test_5_a_put_that_arrives_late_leaves_no_pool_behind() -> None:
    with story() as life:
        life.faults.add("PUT", Fault(is_dropped=True, applied_after_seconds=40))
        life.call()
        life.pass_time(5)
        life.delete()
        life.until_gone()
        life.pass_time(600)
        assert life.pools == []
        assert life.arm.count("DELETE") == 1


def test_7_a_pool_that_appeared_and_is_ours_goes_on() -> None:
    with story() as life:
        life.faults.add("GET", arm_error(404, "NotFound"))
        life.arm.cluster.add_pool(NAME, tags={"kaito.sh_machine-uid": UID})
        life.call()
        life.step()
        assert life.arm.count("PUT") == 1
        assert reason_of(life) == "False/NodeNotFound"


def test_7_a_pool_that_appeared_and_is_foreign_is_a_conflict() -> None:
    with story() as life:
        life.faults.add("GET", arm_error(404, "NotFound"))
        life.arm.cluster.add_pool(NAME)
        life.call()
        life.step()
        assert reason_of(life) == "False/NameConflict"
        assert life.arm.count("PUT") == 1


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
    answer, life = first_put(fault)
    assert reason_of(life) == expected
    assert wait <= answer["resyncAfterSeconds"] <= wait * 1.2
    assert life.arm.count("PUT") == 1
    assert [item.verb for item in life.arm.asked] == ["GET", "PUT"]


def test_8_a_busy_cluster_is_not_counted_as_a_failure() -> None:
    busy = arm_error(409, "OperationNotAllowed", "Another operation is in progress")
    with story() as life:
        life.faults.add("PUT", busy, times=3)
        life.until_ready()
        assert life.status["attempt"]["count"] == 1


def test_13_the_owner_reads_azures_own_words_and_what_to_do() -> None:
    said = "The VM size of Standard_NC6s_v3 is not allowed in your subscription in location 'x'."
    _, life = first_put(arm_error(400, "BadRequest", said))
    message = life.status["lastError"]["message"]
    assert said in message
    assert "`resource.instanceType`" in message


def test_17_no_put_before_the_time_that_azure_asked_for() -> None:
    with story() as life:
        life.faults.add("PUT", arm_error(429, "Throttled", Retry_After="60"))
        life.settle()
        for _ in range(11):
            life.pass_time(5)
            life.settle()
        assert life.arm.count("PUT") == 1
        life.pass_time(6)
        life.settle()
        assert life.arm.count("PUT") == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_19_a_server_error_changes_nothing(status: Any) -> None:
    with story() as life:
        life.until_ready()
        before = {item["type"]: item["status"] for item in life.status["conditions"]}
        life.faults.always("LIST", Fault(status, b"<html>oops</html>"))
        life.pass_time(300)
        life.settle()
        after = {item["type"]: item["status"] for item in life.status["conditions"]}
        assert after == {**before, "ProviderTrouble": "True"}
        assert "<html>" not in json.dumps(life.status)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 503])
def test_20_a_retry_after_is_not_waited_for_inside_the_call(status: Any) -> None:
    _, life = first_put(arm_error(status, "Whatever", Retry_After="30"))
    assert life.arm.count("PUT") == 1


# Reading


def test_21_a_reader_that_lags_causes_no_second_put() -> None:
    with story() as life:
        life.call()
        life.faults.always("GET", arm_error(404, "NotFound"))
        life.pass_time(40)
        life.settle()
        life.faults.always("GET", None)
        life.until_ready()
        assert life.arm.count("PUT") == 1


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
    with story() as life:
        if is_deleting:
            life.delete()
        life.faults.always("GET", fault)
        life.settle()
        assert reason_of(life, "ProviderTrouble") == f"True/{expected}"
        assert not life.is_gone
        assert life.arm.count("PUT") == 0
        assert life.arm.count("DELETE") == 0


def test_26_a_state_that_nobody_knows_is_not_an_end() -> None:
    with story() as life:
        life.faults.script_next(Outcome("Reticulating"))
        life.call()
        life.pass_time(300)
        life.settle()
        assert reason_of(life) == "False/Creating"
        assert life.status["pool"]["provisioningState"] == "Reticulating"


# Failure


def test_28_a_failed_allocation_is_deleted_and_tried_again_later() -> None:
    cause = {"code": "AllocationFailed", "message": "We do not have sufficient capacity"}
    error = {"code": "CreateVMSSAgentPoolFailed", "message": "failed", "details": [cause]}
    with story() as life:
        life.faults.script_next(Outcome("Failed", {"error": error}))
        life.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(life) == "False/InsufficientCapacity"
        life.until(lambda it: it.pools == [])
        began = life.clock.seconds()
        life.until_ready()
        assert life.clock.seconds() - began > 3000
        assert life.status["attempt"]["count"] == 2
        assert "lastError" not in life.status


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_29_31_a_pool_that_failed_without_a_word_is_deleted_and_tried_again(state: Any) -> None:
    with story() as life:
        life.faults.script_next(Outcome(state))
        life.until(lambda it: it.arm.count("DELETE") == 1)
        assert reason_of(life) == "False/PoolFailed"
        life.until_ready()
        assert life.arm.count("PUT") == 2


def test_30_a_failed_pool_whose_node_works_is_kept() -> None:
    with story() as life:
        life.until_ready()
        life.arm.cluster.set_pool(NAME, provisioningState="Failed")
        life.pass_time(300)
        life.settle()
        assert reason_of(life) == "True/NodeReady"
        assert reason_of(life, "Degraded") == "True/PoolFailed"
        assert life.arm.count("DELETE") == 0


def test_33_a_pool_whose_node_never_joins_is_deleted_and_tried_again() -> None:
    with story() as life:
        life.faults.script_next(Outcome(has_node=False))
        life.until(lambda it: it.arm.count("DELETE") == 1)
        assert 15 * 60 <= life.clock.seconds() < 25 * 60
        life.until_ready()
        assert life.status["attempt"]["count"] == 2


def test_35_a_node_without_its_gpu_is_not_initialized() -> None:
    with story() as life:
        life.faults.script_next(Outcome(gpus=0))
        life.until(lambda it: reason_of(it) == "False/ResourceNotRegistered")


# Ownership


def test_36_a_foreign_pool_of_the_same_name_is_never_touched_not_even_in_the_end() -> None:
    with story() as life:
        life.arm.cluster.add_pool(NAME, tags={"kaito.sh_machine-uid": "someone-else"})
        life.settle()
        assert reason_of(life) == "False/NameConflict"
        life.delete()
        life.until_gone()
        assert life.pools == [NAME]
        assert (life.arm.count("PUT"), life.arm.count("DELETE")) == (0, 0)


@pytest.mark.parametrize(
    "mark",
    [
        {"tags": {"kaito.sh_machine-uid": UID}},
        {"tags": {"Kaito.sh_Machine-UID": UID}},
        {"nodeLabels": {"kaito.sh/machine-uid": UID}, "tags": None},
    ],
)
def test_37_38_a_pool_with_our_uid_in_tag_or_label_is_adopted(mark: Any) -> None:
    with story() as life:
        life.arm.cluster.add_pool(NAME, **mark)
        life.settle()
        assert reason_of(life, "MachineLaunched") == "True/Launched"
        assert life.arm.count("PUT") == 0


def test_54_a_machine_that_was_made_again_waits_for_the_pool_of_the_first() -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        life.settle()
        life.parent = {**life.parent, "metadata": {**life.parent["metadata"], "uid": "second"}}
        del life.parent["metadata"]["deletionTimestamp"]
        del life.parent["status"]
        life.settle()
        assert reason_of(life) == "False/NameConflict"
        life.pass_time(900)
        life.settle()
        assert life.arm.count("PUT") == 2


# Deletion


def test_39_one_delete_and_the_machine_goes_when_absence_is_proven() -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        life.settle()
        began = life.clock.seconds()
        life.until_gone()
        assert life.arm.count("DELETE") == 1
        assert life.clock.seconds() - began >= 120 + 45
        assert life.pools == []


@pytest.mark.parametrize("status", [200, 202, 204, 404])
def test_40_no_answer_to_delete_is_proof(status: Any) -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        fault = arm_error(404, "NotFound") if status == 404 else Fault(status)
        life.faults.add("DELETE", fault)  # Says so, and does nothing.
        life.settle()
        assert not life.is_gone
        life.until_gone()
        assert life.pools == []


def test_41_a_pool_that_can_not_be_deleted_while_it_is_created_is_asked_for_again() -> None:
    with story(is_deletable_while_creating=False, create_seconds=1200) as life:
        life.call()
        life.delete()
        life.until(lambda it: it.clock.seconds() > 400)
        assert not life.is_gone
        assert reason_of(life, "DeletionBlocked") == "True/AKSBusy"
        life.until_gone()
        assert life.pools == []


@pytest.mark.parametrize("times", [1, 8])
def test_42_an_etag_that_does_not_match_does_not_keep_the_pool(times: Any) -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        life.faults.add("DELETE", arm_error(412, "PreconditionFailed"), times=times)
        life.until_gone()
        assert life.pools == []


def test_43_a_deletion_that_ends_in_failure_is_asked_for_again() -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        life.settle()
        life.arm.cluster.set_pool(NAME, provisioningState="Failed")
        life.until_gone()
        assert life.arm.count("DELETE") == 2
        assert life.pools == []


def test_44_an_hour_of_throttling_keeps_the_machine_and_spaces_the_calls() -> None:
    with story() as life:
        life.until_ready()
        life.delete()
        asked = len(life.arm.asked)
        for verb in ("GET", "LIST", "DELETE"):
            life.faults.always(verb, arm_error(429, "Throttled", Retry_After="120"))
        life.until(lambda it: it.clock.seconds() > 4000)
        assert not life.is_gone
        assert len(life.arm.asked) - asked <= 35
        for verb in ("GET", "LIST", "DELETE"):
            life.faults.always(verb, None)
        life.until_gone()
        assert life.pools == []


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
    with story() as life:
        life.delete()
        life.faults.always("LIST", fault)
        life.until(lambda it: it.clock.seconds() > 300)
        assert not life.is_gone


def test_45_a_list_whose_second_page_fails_proves_no_absence() -> None:
    with story(page_size=1) as life:
        life.arm.cluster.add_pool("zzz")
        life.delete()
        for _ in range(40):
            life.faults.add("LIST", Fault())
            life.faults.add("LIST", DROPPED)
        life.until(lambda it: it.clock.seconds() > 300)
        assert not life.is_gone
        assert life.arm.count("LIST") >= 4


def test_45_all_pages_of_a_list_are_read() -> None:
    with story(page_size=1) as life:
        life.arm.cluster.add_pool("another")
        life.delete()
        life.until_gone()


# Status


def test_49_an_edited_status_leads_to_no_other_pool_and_is_corrected() -> None:
    with story() as life:
        life.arm.cluster.add_pool("another")
        life.until_ready()
        good = life.status
        life.parent["status"] = {
            **good,
            "providerID": "azure:///elsewhere",
            "nodeName": "http://192.0.2.1/",
            "pool": {"name": "another", "provisioningState": "Failed"},
        }
        life.settle()
        assert life.status == good
        assert {item.pool for item in life.arm.asked} == {NAME, ""}


def test_50_a_stale_parent_causes_no_second_put() -> None:
    with story() as life:
        for _ in range(5):
            life.parent.pop("status", None)
            life.call()
        life.until_ready()
        assert life.arm.count("PUT") == 1


def test_51_58_a_status_that_was_lost_after_the_put_is_made_up_again() -> None:
    with story() as life:
        life.call()
        del life.parent["status"]
        life.until_ready()
        assert life.arm.count("PUT") == 1


@pytest.mark.parametrize("after", [0, 1, 100, 400])
def test_52_whenever_a_machine_is_deleted_no_pool_is_left(after: Any) -> None:
    with story() as life:
        if after:
            life.call()
            life.pass_time(after)
        life.delete()
        life.until_gone()
        assert life.pools == []
        assert life.nodes.by_name == {}


def test_52_a_machine_that_is_deleted_while_its_pool_failed_leaves_none() -> None:
    with story() as life:
        life.faults.script_next(Outcome("Failed"))
        life.call()
        life.pass_time(250)
        life.delete()
        life.until_gone()
        assert life.pools == []


def test_53_the_second_machine_of_a_name_never_touches_the_pool_of_the_first() -> None:
    with story() as life:
        life.until_ready()
        first = life.parent
        meta = {**first["metadata"], "namespace": "other", "uid": "second"}
        life.parent = {**first, "metadata": meta, "status": {}}
        life.settle()
        assert reason_of(life) == "False/NameConflict"
        life.delete()
        life.until_gone()
        assert life.pools == [NAME]
        assert life.arm.count("DELETE") == 0


def test_59_a_clock_that_jumps_deletes_nothing_and_does_not_wait_for_ever() -> None:
    with story() as life:
        life.until_ready()
        life.pass_time(3600)
        life.settle()
        assert reason_of(life) == "True/NodeReady"
        life.parent["status"]["attempt"]["retryAfter"] = "2031-01-01T00:00:00Z"
        life.delete()
        life.parent["status"]["absentSince"] = "2031-01-01T00:00:00Z"
        life.until_gone()
        assert life.pools == []


def test_57_many_machines_share_one_list() -> None:
    with story() as life:
        life.call()
        life.pass_time(11)
        lists = life.arm.count("LIST")
        for index in range(60):
            life.provider.get(PoolRef(f"ws{index}", "u"), fresh=False)
        assert life.arm.count("LIST") == lists + 1


# Reaching Azure


def test_55_a_refused_connection_is_unknown_within_seconds() -> None:
    with story() as life:
        life.arm.stop()
        life.call()
        assert reason_of(life) == "Unknown/ProviderUnreachable"
        life.arm.stop = lambda: None


def test_4_16_76_no_token_and_no_body_is_ever_in_a_log_or_a_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "Bearer eyJhbGciOi.J9.abc at https://x.example/?sig=hunter2 for stand-in"
    with story() as life, caplog.at_level("DEBUG"):
        life.faults.add("PUT", arm_error(400, "BadRequest", secret))
        life.settle()
        said = json.dumps(life.status) + life.log.getvalue() + caplog.text
        assert "BadRequest" in said
        for word in ("eyJhbGciOi", "hunter2", "Bearer stand-in"):
            assert word not in said


def test_17_timestamps_are_never_earlier_than_asked() -> None:
    with story() as life:
        life.clock.advance_to(0.4)
        life.faults.add("PUT", arm_error(429, "Throttled", Retry_After="60"))
        life.call()
        assert life.status["attempt"]["retryAfter"] > timestamp(life.clock.now())
        assert life.status["attempt"]["retryAfter"].endswith("00:01:01Z")
