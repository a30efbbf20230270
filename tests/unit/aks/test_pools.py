from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.api.nodes import accepted
from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_hooks.machine.provider import Taint
from kaito_hooks.providers.aks import errors, pools
from kaito_hooks.providers.aks.conventions import AKS
from kaito_hooks.providers.aks.settings import AksSettings

from tests.unit.machine.builders import UID, machine

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def settings(**more: Any) -> Any:
    return AksSettings("sub", "rg", "aks", "install-1", **more)


def test_a_spot_pool_is_asked_for_without_what_aks_refuses_on_spot() -> None:
    assert "upgradeSettings" not in body(is_spot=True, max_surge=1)


def test_a_second_node_during_upgrades_is_a_setting() -> None:
    wanted = wanted_pool(Machine(machine()), NOW)
    found = pools.put_body(wanted, settings(), max_surge=1)["properties"]["upgradeSettings"]
    assert found == {"maxSurge": "1", "maxUnavailable": "0"}


def body(parent: Any = None, is_spot: Any = False, **more: Any) -> Any:
    wanted = replace(wanted_pool(Machine(parent or machine()), NOW), is_spot=is_spot)
    return pools.put_body(wanted, settings(**more))["properties"]


def test_the_pool_that_is_asked_for() -> None:
    assert body() == {
        "count": 1,
        "enableAutoScaling": False,
        "vmSize": "Standard_NC6s_v3",
        "type": "VirtualMachineScaleSets",
        "mode": "User",
        "osType": "Linux",
        "osSKU": "Ubuntu",
        "osDiskSizeGB": 100,
        "upgradeSettings": {"maxSurge": "0", "maxUnavailable": "1"},
        "nodeLabels": {
            "kaito.sh/workspace": "tuning-phi-3",
            "kaito.sh/workspacenamespace": "ml",
            "karpenter.sh/provisioner-name": "default",
            "kaito.sh/machine-type": "gpu",
            "kaito.sh/machine-uid": UID,
            "kaito.sh/creation-timestamp": "2026-01-01T12-00-00Z",
        },
        "nodeTaints": ["sku=gpu:NoSchedule"],
        "tags": {
            "kaito.sh_machine-uid": UID,
            "kaito.sh_machine": "ml.ws0123456789",
            "kaito.sh_install": "install-1",
            "kaito.sh_created": "2026-01-01T12:00:00Z",
        },
    }


def test_settings_add_subnet_zones_and_spot() -> None:
    found = body(is_spot=True, subnet_id="/subnets/a", zones=("1", "2"), os_sku="AzureLinux")
    assert found["vnetSubnetID"] == "/subnets/a"
    assert found["availabilityZones"] == ["1", "2"]
    assert (found["scaleSetPriority"], found["spotMaxPrice"]) == ("Spot", -1)
    assert found["osSKU"] == "AzureLinux"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kubernetes.io/hostname", "x"),
        ("kubernetes.azure.com/mode", "x"),
        ("app.kubernetes.io/name", "x"),
        ("node-role.kubernetes.io/gpu", ""),
        ("a.k8s.io/b", "x"),
        ("ok", "v" * 64),
        ("k" * 64, "x"),
        ("ok", "not a value"),
        ("UPPER.prefix/x", "x"),
        ("", "x"),
        ("/x", "x"),
        ("agentpool", "gpu"),
        ("accelerator", "nvidia"),
        ("storageprofile", "managed"),
        ("storagetier", "Premium_LRS"),
    ],
)
def test_61_labels_that_aks_or_the_kubelet_refuse_are_left_out(key: Any, value: Any) -> None:
    assert accepted({key: value, "app": "tuning-phi-3"}, (AKS,)) == {"app": "tuning-phi-3"}


def test_a_taint_without_value_has_no_equals_sign() -> None:
    parent = machine(spec={"taints": [{"key": "a", "effect": "NoExecute"}]})
    assert body(parent)["nodeTaints"] == ["a:NoExecute"]
    assert Taint("a", "NoExecute") in wanted_pool(Machine(parent), NOW).taints


def found(properties: Any, name: Any = "ws0") -> Any:
    return pools.read_listed({"name": name, "properties": properties})


def test_age_is_read_from_the_tag_or_from_the_label() -> None:
    tagged = found(
        {"provisioningState": "Failed", "tags": {"kaito.sh_created": "2026-01-01T12:00:00Z"}}
    )
    labels = {"kaito.sh/creation-timestamp": "2026-01-01T12-00-00Z"}
    labelled = found({"provisioningState": "Failed", "nodeLabels": labels})
    assert tagged.seen.created == labelled.seen.created == NOW
    assert found({"provisioningState": "Failed", "nodeLabels": "x"}).seen.created is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"code": "AllocationFailed", "message": "m"}}, errors.InsufficientCapacity),
        ({"code": "QuotaExceeded", "message": "m"}, errors.QuotaExceeded),
        ({"code": "CreateVMSSAgentPoolFailed", "message": "m",
          "innererror": {"code": "SkuNotAvailable", "message": "m"}}, errors.SkuShortage),
        ({"code": "CreateVMSSAgentPoolFailed", "message": "m"}, errors.PoolFailed),
        ({"code": "Throttled", "message": "m"}, errors.PoolFailed),
        ({"code": "OperationNotAllowed", "message": "exceeding approved Total Regional Cores quota"},
         errors.QuotaExceeded),
    ],
)  # fmt: skip
def test_why_a_pool_failed_is_found_wherever_it_is_nested(error: Any, kind: Any) -> None:
    pool = found({"provisioningState": "Failed", "status": {"provisioningError": error}})
    assert type(pool.seen.error) is kind


@pytest.mark.parametrize("error", [None, {}, [], "text", {"error": None}, {"details": [1, {}]}])
def test_a_failure_without_a_code_has_no_reason(error: Any) -> None:
    pool = found({"provisioningState": "Failed", "status": {"provisioningError": error}})
    assert pool.seen.error is None


@pytest.mark.parametrize("properties", [None, [], {}, {"provisioningState": None}, "x"])
def test_what_has_no_state_is_no_pool(properties: Any) -> None:
    assert found(properties) is None


def test_settings_name_the_disk_and_the_driver_where_the_machine_does_not() -> None:
    bare = machine(spec={"resources": {"requests": {"storage": "0"}}})
    assert "osDiskSizeGB" not in body(bare)
    assert body(bare, disk_gib=256)["osDiskSizeGB"] == 256
    assert body(disk_gib=256)["osDiskSizeGB"] == 100  # The Machine's own, before the setting.
    assert "gpuProfile" not in body(bare)
    assert body(bare, gpu_driver="None")["gpuProfile"] == {"driver": "None"}
    managed = {"nvidia": {"managementMode": "Managed"}}
    assert body(bare, gpu_management="Managed")["gpuProfile"] == managed


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ("Standard_NC40ads_H100_v5", "gpu"),
        ("standard_nc6s_v3", "gpu"),
        ("Standard_ND96isr_MI300X_v5", "cpu"),
        ("Standard_NV4as_v4", "cpu"),
        ("Standard_NP10s", "cpu"),
        ("Standard_D4s_v5", "cpu"),
    ],
)
def test_what_nvidia_gpus_need_goes_to_sizes_that_have_them(size: Any, kind: Any) -> None:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [size]}
    asked = body(machine(spec={"requirements": [requirement]}), gpu_driver="None")
    assert asked["nodeLabels"]["kaito.sh/machine-type"] == kind
    assert ("gpuProfile" in asked) == (kind == "gpu")
