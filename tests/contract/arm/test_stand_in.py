"""The stand-in has AKS' semantics, so that what passes here is not a habit of the stand-in."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kaito_hooks.web.workspace import load_presets
from kaito_laptop.azure.compute import vcpus
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.core.clock import RealClock, VirtualClock

from tests.harness.arm import Fault, ScriptedArmServer, ScriptedCluster
from tests.unit.aks.machine_simulation import GPUS, NodeList

TOKEN = {"Authorization": "Bearer any"}
BODY = {
    "properties": {
        "vmSize": "Standard_NC6s_v3",
        "nodeLabels": {"a": "b"},
        "nodeTaints": ["sku=gpu:NoSchedule", "x:NoExecute"],
    }
}


class Client:
    def __init__(self, arm: Any, clock: VirtualClock, nodes: Any) -> None:
        self.arm, self.clock, self.nodes = arm, clock, nodes
        self.base = arm.cluster.id

    def __call__(
        self, method: str, path: str = "", body: Any = None, headers: Any = TOKEN, base: Any = None
    ) -> Any:
        connection = http.client.HTTPConnection(self.arm.url.removeprefix("http://"), timeout=5)
        data = json.dumps(body) if body is not None else None
        connection.request(method, f"{self.base if base is None else base}{path}", data, headers)
        response = connection.getresponse()
        raw = response.read()
        connection.close()
        return response.status, json.loads(raw) if raw else None

    def pass_time(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.seconds() + seconds)
        self.arm.cluster.advance()


@contextmanager
def cluster(**options: Any) -> Iterator[Client]:
    clock, nodes = VirtualClock(), NodeList()
    with ScriptedArmServer(ScriptedCluster(clock, nodes, GPUS, **options)) as arm:
        yield Client(arm, clock, nodes)


def code(answer: Any) -> Any:
    status, body = answer
    return status, body.get("error", body)["code"]


def test_a_request_without_token_is_401() -> None:
    with cluster() as ask:
        assert code(ask("GET", "/agentPools", headers={})) == (401, "AuthenticationFailed")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("00000000-0000", "SubscriptionNotFound"),
        ("resourceGroups/laptop", "ResourceGroupNotFound"),
        ("managedClusters/laptop", "ResourceNotFound"),
    ],
)
def test_another_cluster_is_not_found_with_its_own_code(part: Any, expected: Any) -> None:
    with cluster() as ask:
        base = ask.base.replace(part, f"{part}x")
        assert code(ask("GET", "/agentPools/any", base=base)) == (404, expected)


def test_a_missing_pool_has_the_code_that_means_the_pool() -> None:
    with cluster() as ask:
        assert code(ask("GET", "/agentPools/any")) == (404, "NotFound")


def test_a_cluster_has_a_pool_of_mode_system() -> None:
    with cluster() as ask:
        _, body = ask("GET", "/agentPools")
        assert [pool["properties"]["mode"] for pool in body["value"]] == ["System"]
        _, whole = ask("GET")
        assert whole["properties"]["agentPoolProfiles"][0]["name"] == "system"


def test_a_pool_is_created_in_its_time_and_its_node_joins() -> None:
    with cluster() as ask:
        status, body = ask("PUT", "/agentPools/ws0", BODY)
        assert (status, body["properties"]["provisioningState"]) == (201, "Creating")
        assert ask.arm.cluster.next_change() == 120
        ask.pass_time(239)
        assert ask.nodes.by_name == {}
        ask.pass_time(1)
        (node,) = ask.nodes.by_name.values()
        labels = node["metadata"]["labels"]
        assert labels["agentpool"] == labels["kubernetes.azure.com/agentpool"] == "ws0"
        assert labels["node.kubernetes.io/instance-type"] == "Standard_NC6s_v3"
        assert (labels["accelerator"], labels["a"]) == ("nvidia", "b")
        assert node["spec"]["taints"] == [
            {"key": "sku", "value": "gpu", "effect": "NoSchedule"},
            {"key": "x", "effect": "NoExecute"},
        ]
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
        assert ask.arm.cluster.next_change() is None


@pytest.mark.parametrize("size", ["Standard_ND96isr_MI300X_v5", "Standard_NP10s"])
def test_a_node_whose_size_has_no_nvidia_gpus_shows_none(size: Any) -> None:
    with cluster() as ask:
        ask("PUT", "/agentPools/ws0", {"properties": {**BODY["properties"], "vmSize": size}})
        ask.pass_time(240)
        (node,) = ask.nodes.by_name.values()
        assert "nvidia.com/gpu" not in node["status"]["allocatable"]
        assert "accelerator" not in node["metadata"]["labels"]


@pytest.mark.parametrize("size", load_presets().instance_types.values(), ids=lambda size: size.name)
def test_the_processors_in_the_name_of_a_size_are_those_of_the_catalogue(size: Any) -> None:
    assert vcpus(size.name) == size.vcpus


def test_if_none_match_keeps_a_put_from_changing_a_pool() -> None:
    with cluster() as ask:
        guard = {**TOKEN, "If-None-Match": "*"}
        assert ask("PUT", "/agentPools/ws0", BODY, guard)[0] == 201
        assert ask("PUT", "/agentPools/ws0", BODY, guard)[0] == 412
        ask.pass_time(240)
        status, body = ask("PUT", "/agentPools/ws0", BODY)
        assert (status, body["properties"]["provisioningState"]) == (200, "Updating")


@pytest.mark.parametrize("style", ["{}", '"{}"', 'W/"{}"'])
def test_if_match_must_be_the_newest_etag(style: Any) -> None:
    with cluster() as ask:
        old = ask("PUT", "/agentPools/ws0", BODY)[1]["properties"]["eTag"]
        ask.pass_time(240)
        new = ask("GET", "/agentPools/ws0")[1]["properties"]["eTag"]
        assert old != new
        stale, fresh = ({**TOKEN, "If-Match": style.format(etag)} for etag in (old, new))
        assert ask("DELETE", "/agentPools/ws0", headers=stale)[0] == 412
        assert ask("DELETE", "/agentPools/ws0", headers=fresh)[0] == 202


def test_a_deleted_pool_takes_its_node_along() -> None:
    with cluster() as ask:
        ask("PUT", "/agentPools/ws0", BODY)
        ask.pass_time(240)
        assert ask("DELETE", "/agentPools/ws0")[0] == 202
        assert ask("GET", "/agentPools/ws0")[1]["properties"]["provisioningState"] == "Deleting"
        ask.pass_time(120)
        assert ask("GET", "/agentPools/ws0")[0] == 404
        assert ask("DELETE", "/agentPools/ws0")[0] == 204
        assert ask.nodes.by_name == {}


def test_a_pool_may_fail_with_a_reason() -> None:
    with cluster() as ask:
        ask.arm.cluster.faults.script_next(
            Outcome("Failed", {"error": {"code": "AllocationFailed"}})
        )
        ask("PUT", "/agentPools/ws0", BODY)
        ask.pass_time(240)
        properties = ask("GET", "/agentPools/ws0")[1]["properties"]
        assert properties["provisioningState"] == "Failed"
        assert properties["status"]["provisioningError"]["error"]["code"] == "AllocationFailed"
        assert ask.nodes.by_name == {}


def test_lists_come_in_pages() -> None:
    with cluster(page_size=1) as ask:
        ask.arm.cluster.add_pool("a")
        _, first = ask("GET", "/agentPools")
        assert [pool["name"] for pool in first["value"]] == ["a"]
        _, second = ask("GET", first["nextLink"].removeprefix(ask.arm.url), base="")
        assert [pool["name"] for pool in second["value"]] == ["system"]
        assert "nextLink" not in second


def test_faults_come_in_order_and_end() -> None:
    with cluster() as ask:
        faults = ask.arm.cluster.faults
        faults.add("GET", Fault(503), times=2)
        faults.add("GET", Fault(is_dropped=True))
        assert [ask("GET", "/agentPools/a")[0] for _ in range(2)] == [503, 503]
        with pytest.raises(http.client.RemoteDisconnected):
            ask("GET", "/agentPools/a")
        assert ask("GET", "/agentPools/a")[0] == 404
        assert [item.status for item in ask.arm.asked] == [503, 503, 0, 404]


def test_a_request_can_be_carried_out_without_or_after_its_answer() -> None:
    with cluster() as ask:
        faults = ask.arm.cluster.faults
        faults.add("PUT", Fault(500, is_applied=True))
        assert ask("PUT", "/agentPools/now", BODY)[0] == 500
        faults.add("PUT", Fault(500, applied_after_seconds=40))
        assert ask("PUT", "/agentPools/later", BODY)[0] == 500
        assert ask.arm.cluster.pool_names() == ["now"]
        ask.pass_time(40)
        assert ask.arm.cluster.pool_names() == ["later", "now"]


def test_on_the_clock_of_this_computer_it_moves_by_itself() -> None:
    nodes = NodeList()
    joined = nodes.joined
    managed = ScriptedCluster(RealClock(), nodes, GPUS, create_seconds=0.05)
    with ScriptedArmServer(managed, moves_by_itself=True) as arm:
        ask = Client(arm, VirtualClock(), nodes)
        ask("PUT", "/agentPools/ws0", BODY)
        assert joined.wait(10)
