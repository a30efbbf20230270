"""What AKS begins itself: upgrades, starts and stops, and what becomes of requests meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.arm.test_stand_in import BODY, TOKEN, Client, cluster

OWN = ["Upgrading", "UpgradingNodeImageVersion", "Updating", "Scaling", "Starting"]
NO_SURGE = {"upgradeSettings": {"maxSurge": "0", "maxUnavailable": "1"}}


def ready(ask: Client, **properties: Any) -> Any:
    body = {"properties": {**BODY["properties"], **properties}}
    assert ask("PUT", "/agentPools/ws0", body)[0] == 201
    ask.pass_time(240)
    return ask.arm.cluster


def state(ask: Client, path: str = "/agentPools/ws0") -> Any:
    return ask("GET", path)[1]["properties"]["provisioningState"]


def nodes(ask: Client) -> Any:
    """Number and Ready condition of each Node."""
    return {
        name[-1]: node["status"]["conditions"][0]["status"]
        for name, node in ask.nodes.by_name.items()
    }


@pytest.mark.parametrize("which", OWN)
def test_an_operation_of_a_pool_ends_by_itself(which: Any) -> None:
    with cluster() as ask:
        ready(ask).begin_own_operation(which, 600, pool="ws0")
        assert (state(ask), state(ask, "")) == (which, "Succeeded")
        ask.pass_time(600)
        assert state(ask) == "Succeeded"


@pytest.mark.parametrize("which", ["Upgrading", "UpgradingNodeImageVersion"])
def test_without_surge_the_only_node_is_away_during_an_upgrade(which: Any) -> None:
    with cluster() as ask:
        managed = ready(ask, **NO_SURGE)
        before = next(iter(ask.nodes.by_name.values()))
        managed.begin_own_operation(which, 600, pool="ws0")
        assert nodes(ask) == {"0": "False"}
        ask.pass_time(300)
        assert nodes(ask) == {}
        ask.pass_time(300)
        assert nodes(ask) == {"0": "True"}
        assert next(iter(ask.nodes.by_name.values())) is not before


@pytest.mark.parametrize("settings", [{}, {"upgradeSettings": {"maxSurge": "1"}}])
def test_with_surge_the_new_node_joins_before_the_old_one_leaves(settings: Any) -> None:
    with cluster() as ask:
        ready(ask, **settings).begin_own_operation("Upgrading", 600, pool="ws0")
        assert nodes(ask) == {"0": "True"}
        ask.pass_time(300)
        assert nodes(ask) == {"0": "True", "1": "True"}
        ask.pass_time(300)
        assert nodes(ask) == {"1": "True"}
        (node,) = ask.nodes.by_name.values()
        assert node["spec"]["providerID"].endswith("/virtualMachines/1")


@pytest.mark.parametrize("which", ["Updating", "Scaling", "Starting"])
def test_other_operations_leave_the_node_alone(which: Any) -> None:
    with cluster() as ask:
        ready(ask).begin_own_operation(which, 600, pool="ws0")
        ask.pass_time(300)
        assert nodes(ask) == {"0": "True"}


@pytest.mark.parametrize("seconds", [0, 300])
def test_a_pool_that_is_deleted_during_an_upgrade_takes_all_its_nodes_along(seconds: Any) -> None:
    with cluster(preempts=True) as ask:
        ready(ask).begin_own_operation("Upgrading", 600, pool="ws0")
        ask.pass_time(seconds)
        assert ask("DELETE", "/agentPools/ws0")[0] == 202
        ask.pass_time(120)
        assert ask("GET", "/agentPools/ws0")[0] == 404
        assert nodes(ask) == {}


@pytest.mark.parametrize("pool", [None, "ws0"])
@pytest.mark.parametrize("which", OWN)
def test_a_delete_is_refused_and_remembered(which: Any, pool: Any) -> None:
    with cluster() as ask:
        managed = ready(ask)
        managed.begin_own_operation(which, 600, pool=pool)
        status, body = ask("DELETE", "/agentPools/ws0")
        assert (status, body["code"]) == (409, "OperationNotAllowed")
        assert managed.preempted == [("DELETE", "ws0", which)]
        ask.pass_time(600)
        assert state(ask, "") == "Succeeded"
        assert ask("DELETE", "/agentPools/ws0")[0] == 202
        assert len(managed.preempted) == 1


@pytest.mark.parametrize("pool", [None, "ws0"])
@pytest.mark.parametrize("which", OWN)
def test_a_delete_that_preempts_leaves_the_cluster_failed(which: Any, pool: Any) -> None:
    with cluster(preempts=True) as ask:
        managed = ready(ask)
        managed.begin_own_operation(which, 600, pool=pool)
        assert ask("DELETE", "/agentPools/ws0")[0] == 202
        assert managed.preempted == [("DELETE", "ws0", which)]
        ask.pass_time(600)
        assert (ask("GET", "/agentPools/ws0")[0], state(ask, "")) == (404, "Failed")
        managed.begin_own_operation("Updating", 60)
        ask.pass_time(60)
        assert state(ask, "") == "Succeeded"


def test_a_delete_during_ones_own_creation_preempts_nothing_of_aks() -> None:
    with cluster(preempts=True) as ask:
        ask("PUT", "/agentPools/ws0", BODY)
        assert [ask("DELETE", "/agentPools/ws0")[0] for _ in range(2)] == [202, 202]
        assert ask.arm.cluster.preempted == []
        assert state(ask, "") == "Succeeded"


@pytest.mark.parametrize(
    ("path", "pool", "which", "said"),
    [
        ("ws0", "ws0", "Updating", "Operation is not allowed because there's an in progress update node "
         "pool operation on the agent pool ws0. Please wait for it to finish"),
        ("ws0", "ws0", "Upgrading", "in progress upgrade node pool operation"),
        ("ws0", None, "Upgrading", "Another operation (laptop - Upgrading) is in progress"),
        ("ws1", None, "Starting", "Another operation (laptop - Starting) is in progress"),
        ("ws1", None, "Stopping", "Provisioning State(Stopping) and Power State(Stopped)"),
    ],
)  # fmt: skip
def test_a_put_during_it_is_refused_in_aks_own_words(
    path: Any, pool: Any, which: Any, said: Any
) -> None:
    with cluster() as ask:
        ready(ask).begin_own_operation(which, 600, pool=pool)
        status, body = ask("PUT", f"/agentPools/{path}", BODY)
        assert (status, body["code"], body["details"]) == (409, "OperationNotAllowed", None)
        assert said in body["message"]


def test_a_put_of_a_pool_that_is_being_deleted_is_refused() -> None:
    with cluster() as ask:
        ready(ask)
        ask("DELETE", "/agentPools/ws0")
        status, body = ask("PUT", "/agentPools/ws0", BODY)
        assert (status, body["code"]) == (409, "OperationNotAllowed")
        assert "since deletion was issued on 'ws0'" in body["message"]


def test_another_pool_may_be_put_while_one_is_upgraded() -> None:
    with cluster() as ask:
        ready(ask).begin_own_operation("Upgrading", 600, pool="ws0")
        assert ask("PUT", "/agentPools/ws1", BODY)[0] == 201


def test_a_cluster_that_stopped_stays_so_and_refuses_even_with_preemption() -> None:
    with cluster(preempts=True) as ask:
        managed = ready(ask)
        managed.begin_own_operation("Stopping", 600)
        ask.pass_time(600)
        properties = ask("GET")[1]["properties"]
        assert (properties["provisioningState"], properties["powerState"]["code"]) == (
            "Succeeded",
            "Stopped",
        )
        assert ask("DELETE", "/agentPools/ws0")[0] == 409
        managed.begin_own_operation("Starting", 600)
        assert ask("DELETE", "/agentPools/ws0")[0] == 202
        assert managed.preempted == [
            ("DELETE", "ws0", "Succeeded"),
            ("DELETE", "ws0", "Starting"),
        ]


def etag(ask: Client) -> Any:
    return ask("GET", "/agentPools/ws0")[1]["properties"]["eTag"]


def test_the_etag_changes_in_the_middle_of_an_operation_and_at_its_end() -> None:
    with cluster() as ask:
        seen = [ask("PUT", "/agentPools/ws0", BODY)[1]["properties"]["eTag"]]
        for seconds in (119, 1, 119, 1, 1000):
            ask.pass_time(seconds)
            seen.append(etag(ask))
        assert [seen.index(each) for each in seen] == [0, 0, 2, 2, 4, 4]


def test_an_operation_of_the_cluster_changes_the_etags_of_its_pools() -> None:
    with cluster() as ask:
        managed = ready(ask)
        before = etag(ask)
        managed.begin_own_operation("Upgrading", 600)
        assert etag(ask) != before


def test_an_old_etag_is_no_condition_for_a_delete_during_an_operation() -> None:
    with cluster() as ask:
        old = ask("PUT", "/agentPools/ws0", BODY)[1]["properties"]["eTag"]
        ask.pass_time(120)
        assert ask("DELETE", "/agentPools/ws0", headers={**TOKEN, "If-Match": f'"{old}"'})[0] == 412


def test_an_older_api_shows_no_etags() -> None:
    with cluster(hides_etags=True) as ask:
        bodies = [
            ask("PUT", "/agentPools/ws0", BODY)[1],
            ask("GET", "/agentPools/ws0")[1],
            *ask("GET", "/agentPools")[1]["value"],
        ]
        assert len(bodies) == 4
        assert not any("eTag" in body["properties"] for body in bodies)


def test_aks_automatic_shows_no_system_pool() -> None:
    with cluster(hosted_system=True) as ask:
        assert ask("GET", "/agentPools") == (200, {"value": []})
        whole = ask("GET")[1]
        assert whole["sku"] == {"name": "Automatic", "tier": "Standard"}
        assert whole["properties"]["hostedSystemProfile"] == {"enabled": True}
        assert whole["properties"]["agentPoolProfiles"] == []
        assert ask("PUT", "/agentPools/ws0", BODY)[0] == 201


def test_another_cluster_shows_its_system_pool() -> None:
    with cluster() as ask:
        whole = ask("GET")[1]
        assert whole["sku"]["name"] == "Base"
        assert "hostedSystemProfile" not in whole["properties"]
