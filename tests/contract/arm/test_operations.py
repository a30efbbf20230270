"""Azure's own client, with its own polling, sees in the stand-in what it sees in Azure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.containerservice import ContainerServiceClient

from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import Manifest

from tests.contract.arm.test_stand_in import BODY, TOKEN, cluster, code
from tests.harness.arm import ScriptedArmServer, ScriptedCluster

SIZE = "Standard_NC6s_v3"


class AnyToken(SansIOHTTPPolicy[Any, Any]):
    def on_request(self, request: Any) -> None:
        request.http_request.headers["Authorization"] = "Bearer any"

    def get_token(self, *scopes: Any, **options: Any) -> Any:
        return AccessToken("any", 0)


class Nowhere:
    def add(self, manifest: Manifest) -> None:
        pass

    def remove(self, name: str) -> None:
        pass


@pytest.fixture
def azure() -> Iterator[Any]:
    """The client as its documentation shows it, polling every hundredth of a second."""
    managed = ScriptedCluster(
        RealClock(), Nowhere(), {SIZE: 1}, create_seconds=0.1, delete_seconds=0.1
    )
    with ScriptedArmServer(managed, moves_by_itself=True) as arm:
        token = AnyToken()
        client = ContainerServiceClient(
            token,
            managed.subscription.rpartition("/")[2],
            base_url=arm.url,
            authentication_policy=token,
            retry_total=0,
            polling_interval=0.01,
        )
        yield client.agent_pools, arm


def without_waiting(arm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header asks for ten seconds, which are not the point."""
    monkeypatch.setattr("kaito_laptop.azure.operations.POLL_SECONDS", 0)


def test_the_clients_own_poller_follows_a_creation_and_a_deletion(
    azure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools, arm = azure
    without_waiting(arm, monkeypatch)
    made = pools.begin_create_or_update("laptop", "laptop", "ws0", BODY).result(10)
    assert made.properties.provisioning_state == "Succeeded"
    pools.begin_delete("laptop", "laptop", "ws0").result(10)
    assert arm.cluster.pool_names() == []
    assert arm.count("OPERATION") >= 2


def test_the_clients_own_poller_raises_what_a_creation_failed_of(
    azure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools, arm = azure
    without_waiting(arm, monkeypatch)
    arm.cluster.faults.script_next(
        Outcome("Failed", {"error": {"code": "AllocationFailed", "message": "m"}})
    )
    with pytest.raises(HttpResponseError) as failed:
        pools.begin_create_or_update("laptop", "laptop", "ws0", BODY).result(10)
    assert failed.value.error is not None
    assert (failed.value.status_code, failed.value.error.code) == (200, "AllocationFailed")


def test_an_operation_that_is_overridden_says_so() -> None:
    with cluster() as ask:
        ask("PUT", "/agentPools/ws0", BODY)
        first = ask.arm.cluster.operations.of_pool["ws0"]
        ask("DELETE", "/agentPools/ws0")
        assert first.status == "Canceled"
        assert first.error["code"] == "AKSOperationPreemptedByDelete"


def test_one_operation_at_a_time_is_what_older_clusters_allow() -> None:
    with cluster(one_operation_at_a_time=True) as ask:
        assert ask("PUT", "/agentPools/ws0", BODY)[0] == 201
        assert code(ask("PUT", "/agentPools/ws1", BODY)) == (409, "OperationNotAllowed")
        ask.pass_time(240)
        assert ask("PUT", "/agentPools/ws1", BODY)[0] == 201


def test_a_cluster_that_is_upgraded_takes_no_pools() -> None:
    with cluster() as ask:
        ask.arm.cluster.occupy("Upgrading", 600)
        assert code(ask("PUT", "/agentPools/ws0", BODY)) == (409, "OperationNotAllowed")
        assert ask("GET")[1]["properties"]["provisioningState"] == "Upgrading"
        ask.pass_time(600)
        assert ask("PUT", "/agentPools/ws0", BODY)[0] == 201


def test_quota_is_used_by_pools_and_comes_back() -> None:
    with cluster(compute=Compute(limits={"standardNCSv3Family": 6})) as ask:
        assert ask("PUT", "/agentPools/ws0", BODY)[0] == 201
        assert code(ask("PUT", "/agentPools/ws1", BODY)) == (400, "ErrCode_InsufficientVCPUQuota")
        usages = ask("GET", "/usages", base=f"{ask.arm.cluster.subscription}/providers"
                     "/Microsoft.Compute/locations/westeurope")[1]["value"]  # fmt: skip
        (family,) = [item for item in usages if item["name"]["value"] == "standardNCSv3Family"]
        assert (family["currentValue"], family["limit"]) == (6, 6)
        ask("DELETE", "/agentPools/ws0")
        ask.pass_time(120)
        assert ask("PUT", "/agentPools/ws1", BODY)[0] == 201


def test_a_size_that_is_closed_is_refused_and_shown_as_restricted() -> None:
    with cluster(compute=Compute(not_offered={SIZE})) as ask:
        assert code(ask("PUT", "/agentPools/ws0", BODY)) == (400, "BadRequest")
        skus = ask(
            "GET", "/skus", base=f"{ask.arm.cluster.subscription}/providers/Microsoft.Compute"
        )
        (size,) = skus[1]["value"]
        assert size["restrictions"][0]["reasonCode"] == "NotAvailableForSubscription"


def test_capacity_that_is_used_up_fails_the_pool_and_comes_back() -> None:
    with cluster(compute=Compute(free={SIZE: 1})) as ask:
        for name in ("ws0", "ws1"):
            ask("PUT", f"/agentPools/{name}", BODY)
        ask.pass_time(240)
        second = ask("GET", "/agentPools/ws1")[1]["properties"]
        assert second["provisioningState"] == "Failed"
        assert second["status"]["provisioningError"]["code"] == "AllocationFailed"
        ask("DELETE", "/agentPools/ws0")
        ask.pass_time(120)
        assert ask.arm.cluster.compute.free == {SIZE: 1}


def test_sixty_reads_at_once_and_then_one_a_second() -> None:
    with cluster() as ask:
        assert {ask("GET", "/agentPools/a")[0] for _ in range(60)} == {404}
        assert code(ask("GET", "/agentPools/a")) == (429, "Throttled")
        ask.pass_time(1)
        assert ask("GET", "/agentPools/a")[0] == 404
        assert ask.arm.cluster.throttle.refused == 1


def test_twenty_puts_of_one_pool_and_then_one_a_minute() -> None:
    with cluster() as ask:
        guard = {**TOKEN, "If-None-Match": "*"}
        assert ask("PUT", "/agentPools/ws0", BODY, guard)[0] == 201
        assert {ask("PUT", "/agentPools/ws0", BODY, guard)[0] for _ in range(19)} == {412}
        assert ask("PUT", "/agentPools/ws0", BODY, guard)[0] == 429
        assert ask("PUT", "/agentPools/ws1", BODY, guard)[0] == 201


def test_a_429_of_aks_is_flat_and_names_the_limit() -> None:
    with cluster() as ask:
        for _ in range(60):
            ask("GET", "/agentPools/a")
        status, body = ask("GET", "/agentPools/a")
        assert (status, body["code"], body["details"]) == (429, "Throttled", None)
        assert "The GetAgentPoolHandler.GET request limit has been exceeded" in body["message"]
        assert "please retry again in 1 seconds" in body["message"]


def test_reading_the_cluster_has_a_bucket_of_its_own() -> None:
    with cluster() as ask:
        assert {ask("GET")[0] for _ in range(60)} == {200}
        assert code(ask("GET")) == (429, "Throttled")
        assert ask("GET", "/agentPools")[0] == 200
        ask.pass_time(1)
        assert ask("GET")[0] == 200


def test_what_was_refused_is_counted_by_verb() -> None:
    with cluster() as ask:
        for _ in range(22):
            ask("PUT", "/agentPools/ws0", BODY)
        for _ in range(61):
            ask("GET")
        throttle = ask.arm.cluster.throttle
        assert (throttle.refused_puts, throttle.refused) == (2, 3)
        assert throttle.refused_by_verb["CLUSTER"] == 1
