"""Why pools fail: the same cause, in the shapes of several years."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.mgmt.containerservice.models import AgentPool

from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.interference import Outcome

from tests.contract.arm.test_stand_in import BODY, cluster
from tests.harness.provisioning_errors import (
    WORDS,
    node_setup_failed,
    precondition_failed,
    provisioning_error,
    quota,
    throttled_by_compute,
    with_json,
    with_sub_code,
)

SIZE = "Standard_NC6s_v3"
WRAPPING = ("CreateVMSSAgentPoolFailed", "ReconcileVMSSAgentPoolFailed")


@pytest.mark.parametrize("code", sorted(WORDS))
@pytest.mark.parametrize("outer", WRAPPING)
def test_in_2022_the_cause_is_only_in_the_message(code: Any, outer: Any) -> None:
    error = provisioning_error(2022, code, outer=outer)
    assert set(error) == {"code", "message"}
    assert error["code"] == outer
    assert error["message"].startswith(f'Code="{code}" Message="')


@pytest.mark.parametrize("year", [2024, 2026])
@pytest.mark.parametrize("code", sorted(WORDS))
def test_later_the_cause_is_the_code_and_in_the_details(year: Any, code: Any) -> None:
    error = provisioning_error(year, code)
    assert error["code"] == ("QuotaExceeded" if code == "OperationNotAllowed" else code)
    assert error["details"] == [{"code": code, "message": WORDS[code]}]
    assert WORDS[code] in error["message"]


@pytest.mark.parametrize(
    ("year", "begins"), [(2024, 'Code="OperationNotAllowed" Message="'), (2026, "Create or update VMSS")]
)  # fmt: skip
def test_the_message_of_a_year_begins_in_its_own_way(year: Any, begins: Any) -> None:
    said = quota("LowPriorityCores", 3, 0, 6)
    error = provisioning_error(year, "OperationNotAllowed", said)
    assert error["message"].startswith(begins)
    assert "approved LowPriorityCores quota." in error["message"]
    assert "Current Limit: 3, Current Usage: 0, Additional Required: 6" in error["message"]


def test_a_cause_may_be_a_sub_code_or_json_in_the_text() -> None:
    assert "SubCode: ZonalAllocationFailed;" in with_sub_code("ZonalAllocationFailed")["message"]
    text = with_json("OperationNotAllowed", quota("Total Regional Cores", 4, 4, 6))["message"]
    inner = json.loads(text[text.index("{") :])
    assert inner["code"] == "InvalidTemplateDeployment"
    assert inner["details"][0]["code"] == "OperationNotAllowed"


def test_throttling_inside_azure_has_the_code_of_a_quota() -> None:
    said = throttled_by_compute()["message"]
    assert 'Code="OperationNotAllowed"' in said
    assert "too many requests" in said
    assert "quota" not in said


@pytest.mark.parametrize(
    ("year", "status", "code", "says"),
    [
        (2022, 50, "CreateVMSSAgentPoolFailed", 'Details: Code="VMExtensionProvisioningError"'),
        (2022, 84, "CreateVMSSAgentPoolFailed", "exit status=84"),
        (2024, 84, "VMExtensionProvisioningError", "exit status=84"),
        (2024, 124, "VMExtensionProvisioningError", "exit status=124"),
        (2026, 124, "VMExtensionProvisioningError", "exit status=124"),
        (2026, 50, "VMExtensionProvisioningError",
         "CSE failed with 'VMExtensionError_OutboundConnFail'"),
    ],
)  # fmt: skip
def test_a_node_that_could_not_be_set_up_says_why(
    year: Any, status: Any, code: Any, says: Any
) -> None:
    error = node_setup_failed(year, status)
    assert error["code"] == code
    assert says in error["message"]


def test_a_put_may_be_refused_around_json_that_names_the_cause() -> None:
    body = json.loads(precondition_failed("ws0", "QuotaExceeded", quota("cores", 0, 0, 4)))
    assert body["code"] == "PreconditionFailed"
    head, brace, rest = body["message"].partition("{")
    assert head == "Provisioning of resource(s) for Agent Pool ws0 failed. Error: "
    assert json.loads(brace + rest)["details"][0]["code"] == "QuotaExceeded"


@pytest.mark.parametrize(
    "error",
    [
        *(provisioning_error(year, "AllocationFailed") for year in (2022, 2024, 2026)),
        with_sub_code("ZonalAllocationFailed"),
        with_json("ZonalAllocationFailed"),
        node_setup_failed(2024, 50),
        throttled_by_compute(),
    ],
)
def test_azures_own_model_reads_what_failed_a_pool(error: Any) -> None:
    with cluster() as ask:
        ask.arm.cluster.faults.script_next(Outcome("Failed", error))
        ask("PUT", "/agentPools/ws0", BODY)
        ask.pass_time(240)
        read: Any = AgentPool(ask("GET", "/agentPools/ws0")[1]).properties
        assert read.provisioning_state == "Failed"
        assert read.status.provisioning_error.code == error["code"]
        assert read.status.provisioning_error.message == error["message"]


@pytest.mark.parametrize(
    ("free", "properties", "code", "says"),
    [
        ({SIZE: 0}, {}, "AllocationFailed", "sufficient capacity for the requested VM size in this region"),
        ({SIZE: 0}, {"availabilityZones": ["1"]}, "ZonalAllocationFailed", "in this zone"),
        ({f"spot/{SIZE}": 0}, {"scaleSetPriority": "Spot"}, "SkuNotAvailable",
         f"Following SKUs have failed for Capacity Restrictions: {SIZE}'"),
    ],
)  # fmt: skip
def test_a_pool_without_a_free_machine_fails_in_the_words_of_today(
    free: Any, properties: Any, code: Any, says: Any
) -> None:
    with cluster(compute=Compute(free=free)) as ask:
        ask("PUT", "/agentPools/ws0", {"properties": {**BODY["properties"], **properties}})
        ask.pass_time(240)
        error = ask("GET", "/agentPools/ws0")[1]["properties"]["status"]["provisioningError"]
        assert error["code"] == error["details"][0]["code"] == code
        assert says in error["message"]
