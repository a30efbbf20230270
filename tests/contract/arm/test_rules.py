"""What AKS refuses in a PUT, in the shape and words in which it does."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_laptop.azure.compute import Compute

from tests.contract.arm.test_stand_in import BODY, TOKEN, Client, cluster

SPOT = {"scaleSetPriority": "Spot"}
MAX_SURGE = "agentPoolProfile.upgrade.maxSurge"
MAX_UNAVAILABLE = "agentPoolProfile.upgradeSettings.maxUnavailable"


def put(ask: Client, name: str = "ws0", **properties: Any) -> Any:
    return ask("PUT", f"/agentPools/{name}", {"properties": {**BODY["properties"], **properties}})


@pytest.mark.parametrize(
    ("properties", "code", "target", "said"),
    [
        ({**SPOT, "upgradeSettings": {"maxUnavailable": "1"}}, "InvalidParameter", MAX_UNAVAILABLE,
         f"The value of parameter {MAX_UNAVAILABLE} is invalid. Error details: Spot pools can't set "
         "maxUnavailable."),
        ({**SPOT, "upgradeSettings": {"maxSurge": "0"}}, "InvalidParameter", MAX_SURGE,
         f"The value of parameter {MAX_SURGE} is invalid. Error details: Spot pools can't set max "
         "surge. Please see https://aka.ms/aks-naming-rules for more details."),
        ({"nodeLabels": {"agentpool": "other"}}, "NodeLabelKeyNotAllowed",
         "agentPoolProfile.nodeLabels", "'agentpool'"),
        ({"nodeLabels": {"accelerator": "nvidia"}}, "NodeLabelKeyNotAllowed",
         "agentPoolProfile.nodeLabels", "'accelerator'"),
        ({"nodeLabels": {"storageprofile": "a"}}, "NodeLabelKeyNotAllowed",
         "agentPoolProfile.nodeLabels", "'storageprofile'"),
        ({"nodeLabels": {"storagetier": "a"}}, "NodeLabelKeyNotAllowed",
         "agentPoolProfile.nodeLabels", "'storagetier'"),
        ({"nodeLabels": {"kubernetes.azure.com/mode": "user"}}, "BadRequest", None,
         "Invalid node label key kubernetes.azure.com/mode. The 'kubernetes.azure.com' prefix"),
        ({"nodeLabels": {"kubernetes.io/role": "x"}}, "BadRequest", "kubernetes.io/role=x",
         "must begin with an allowed prefix (kubelet.kubernetes.io, node.kubernetes.io)"),
        ({"nodeLabels": {"topology.kubernetes.io/zone": "x"}}, "BadRequest",
         "topology.kubernetes.io/zone=x", "must begin with an allowed prefix"),
        ({"nodeLabels": {"node.k8s.io/a": "x"}}, "BadRequest", "node.k8s.io/a=x", "'k8s.io'"),
        ({"availabilityZones": ["1", "4", "5"]}, "AvailabilityZoneNotSupported", None,
         "The zone(s) 4,5 for resource ws0 is not supported. The supported zones for location "
         "westeurope are 1,2,3."),
        ({"orchestratorVersion": "1.35"}, "NodePoolMcVersionIncompatible", None,
         "Node pool version 1.35 and control plane version 1.34.2 are incompatible. Minor version of "
         "node pool version 35 is bigger than control plane version 34."),
        ({"orchestratorVersion": "1.34.3"}, "NodePoolMcVersionIncompatible", None,
         "Patch version of node pool version 3 is bigger than control plane version 2."),
        ({"osDiskSizeGB": 29}, "InvalidParameter", "agentPoolProfile.osDiskSizeGB",
         "The OSDiskSize for Agent ws0 cannot be less than 30GB or larger than 2048GB."),
        ({"osDiskSizeGB": 2049}, "InvalidParameter", "agentPoolProfile.osDiskSizeGB", "2048GB"),
        ({"osDiskSizeGB": -2147483648}, "InvalidParameter", "agentPoolProfile.osDiskSizeGB", "30GB"),
        ({"osSKU": "Debian"}, "InvalidOSSKU", "agentPoolProfile.osSKU", "OSSKU 'Debian' is invalid"),
        ({"vmSize": ""}, "InvalidParameter", None, "vmSize"),
    ],
)  # fmt: skip
def test_a_pool_that_aks_does_not_accept_is_refused_flat(
    properties: Any, code: Any, target: Any, said: Any
) -> None:
    with cluster() as ask:
        status, body = put(ask, **properties)
        assert (status, body["code"], body.get("target")) == (400, code, target)
        assert said in body["message"]
        assert (body["details"], body["subcode"]) == (None, "")
        assert ask.arm.cluster.pool_names() == []


@pytest.mark.parametrize(
    "properties",
    [
        SPOT,
        {**SPOT, "upgradeSettings": {"maxSurge": None, "maxUnavailable": None}},
        {"upgradeSettings": {"maxSurge": "0", "maxUnavailable": "1"}},
        {"nodeLabels": {"agentpool": "ws0", "node.kubernetes.io/a": "b", "kaito.sh/a": "b"}},
        {"availabilityZones": ["1", "3"]},
        {"orchestratorVersion": "1.34"},
        {"orchestratorVersion": "1.33.9"},
        {"osDiskSizeGB": 0},
        {"osDiskSizeGB": 30},
        {"osDiskSizeGB": 2048},
        {"osSKU": "AzureLinux"},
    ],
)
def test_a_pool_that_aks_accepts_is_made(properties: Any) -> None:
    with cluster() as ask:
        assert put(ask, **properties)[0] == 201


def test_a_spot_pool_shows_the_label_and_the_taint_that_aks_adds() -> None:
    with cluster() as ask:
        shown = put(ask, **SPOT)[1]["properties"]
        assert shown["nodeLabels"] == {"a": "b", "kubernetes.azure.com/scalesetpriority": "spot"}
        assert shown["nodeTaints"] == [
            "sku=gpu:NoSchedule",
            "x:NoExecute",
            "kubernetes.azure.com/scalesetpriority=spot:NoSchedule",
        ]
        ask.pass_time(240)
        (node,) = ask.nodes.by_name.values()
        assert len(node["spec"]["taints"]) == 3


def test_a_region_without_zones_says_so() -> None:
    with cluster(compute=Compute(zones=())) as ask:
        assert "are (empty)." in put(ask, availabilityZones=["1"])[1]["message"]


def test_pools_that_are_being_deleted_count_for_the_most_that_there_may_be() -> None:
    with cluster(most_pools=2) as ask:
        assert ask("GET")[1]["properties"]["maxAgentPools"] == 2
        assert put(ask, "ws0")[0] == 201
        ask("DELETE", "/agentPools/ws0")
        status, body = put(ask, "ws1")
        assert (status, body["code"]) == (400, "MaxAgentPoolCountReached")
        ask.pass_time(120)
        assert put(ask, "ws1")[0] == 201


@pytest.mark.parametrize(
    ("compute", "code", "said"),
    [
        (Compute(limits={"standardNCSv3Family": 4}), "ErrCode_InsufficientVCPUQuota",
         "Insufficient vcpu quota requested 6, remaining 4 for family standardNCSv3Family for region "
         "westeurope. If you want to increase the quota"),
        (Compute(limits={"cores": 9}), "ErrCode_InsufficientVCPUQuota",
         "Insufficient regional vcpu quota left for location westeurope. left regional vcpu quota 5, "
         "requested quota 6."),
        (Compute(not_offered={"Standard_NC6s_v3"}), "BadRequest",
         "The VM size of AgentPoolProfile:ws0 is not allowed in your subscription in location"),
    ],
)  # fmt: skip
def test_what_the_region_can_not_give_is_refused_flat(compute: Any, code: Any, said: Any) -> None:
    with cluster(compute=compute) as ask:
        status, body = put(ask)
        assert (status, body["code"]) == (400, code)
        assert said in body["message"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"If-None-Match": "*"}, (412, "PreconditionFailed")),
        ({"If-Match": '"other"'}, (412, "PreconditionFailed")),
        ({"If-None-Match": '"other"'}, (400, "BadRequest")),
        ({"If-Match": "*", "If-None-Match": "*"}, (400, "BadRequest")),
    ],
)
def test_a_condition_that_does_not_hold_is_refused_flat(headers: Any, expected: Any) -> None:
    with cluster() as ask:
        put(ask)
        status, body = ask("PUT", "/agentPools/ws0", BODY, {**TOKEN, **headers})
        assert (status, body["code"]) == expected


@pytest.mark.parametrize(
    ("code", "said", "subcode"),
    [
        ("NotFound", "Could not find the agentpool", "GetAgentPool_NotFound"),
        ("AgentPoolNotFound", "Agent Pool not found", ""),
    ],
)
def test_a_missing_pool_is_named_so_by_aks_itself(code: Any, said: Any, subcode: Any) -> None:
    with cluster(not_found_code=code) as ask:
        status, body = ask("GET", "/agentPools/any")
        assert status == 404
        assert body == {"code": code, "details": None, "message": said, "subcode": subcode}
