from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaito_hooks.errors import InvalidSettings
from kaito_hooks.providers.aks.settings import AksSettings, is_loopback
from kaito_hooks.providers.karpenter.settings import KarpenterSettings
from kaito_hooks.providers.table import PROVIDERS as TABLE
from kaito_hooks.settings import (
    DEFAULT_COMPUTE_CAPABILITIES,
    RUNTIMES,
    MachineHookSettings,
    WorkspaceSettings,
)
from kaito_hooks.workspace.api import Runtime

PROVIDERS = tuple(TABLE)
MACHINE = {
    "ARM_SUBSCRIPTION_ID": "sub",
    "ARM_RESOURCE_GROUP": "rg",
    "AZURE_CLUSTER_NAME": "aks",
    "AZURE_TENANT_ID": "tenant",
    "AZURE_CLIENT_ID": "client",
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
}
WORKSPACE = {
    "KAITO_TRANSFER_IMAGE": "r/transfer:1",
    "KAITO_TUNING_IMAGE": "r/tuning:1",
    "KAITO_INFERENCE_IMAGE": "r/inference:1",
}


def test_defaults_need_the_least_that_can_be_said() -> None:
    machine = AksSettings.from_environ(MACHINE)
    assert machine.arm_endpoint == "https://management.azure.com"
    assert not machine.is_stand_in
    workspace = WorkspaceSettings.from_environ(WORKSPACE)
    assert workspace.preset_registry == "mcr.microsoft.com/aks/kaito"
    assert " ".join(workspace.compute_capabilities) == DEFAULT_COMPUTE_CAPABILITIES
    assert workspace.presets_file is None
    assert (workspace.runtime, workspace.vllm_image) == ("transformers", "")


@pytest.mark.parametrize("name", MACHINE)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_setting_of_the_machine_hook_is_named(name: Any, value: Any) -> None:
    env = {key: item for key, item in MACHINE.items() if key != name}
    if value is not None:
        env[name] = value
    with pytest.raises(InvalidSettings, match=name):
        AksSettings.from_environ(env)


@pytest.mark.parametrize("name", WORKSPACE)
def test_a_missing_setting_of_the_workspace_hook_is_named(name: Any) -> None:
    with pytest.raises(InvalidSettings, match=name):
        WorkspaceSettings.from_environ({k: v for k, v in WORKSPACE.items() if k != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAITO_RUNTIME_COMPUTE_CAPABILITIES", "8.0 nine"),
        ("KAITO_VLLM_COMPUTE_CAPABILITIES", "9"),
        ("KAITO_DEFAULT_RUNTIME", "llama.cpp"),
        ("KAITO_DEFAULT_RUNTIME", "vllm"),  # without its image
        ("KAITO_PRESETS_FILE", "/nonexistent/presets.yaml"),
        ("KAITO_HOOK_TOKEN_FILE", "/nonexistent/token"),
    ],
)
def test_a_malformed_setting_of_the_workspace_hook_is_named(name: Any, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=name):
        WorkspaceSettings.from_environ({**WORKSPACE, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAITO_POOL_OS_SKU", "Windows"),
        ("KAITO_POOL_DISK_GIB", "20"),
        ("KAITO_POOL_DISK_GIB", "-5"),
        ("KAITO_POOL_GPU_DRIVER", "none"),
        ("KAITO_POOL_ZONES", "1 westeurope-2"),
        ("KAITO_POOL_SUBNET_ID", "my-subnet"),
        ("LOCATION", "west/europe"),
        ("AZURE_AUTHORITY_HOST", "http://login.microsoftonline.com"),
        ("ARM_ENDPOINT", "http://management.azure.com"),
        ("ARM_ENDPOINT", "https://management.azure.com.example.org"),
        ("ARM_ENDPOINT", "http://localhost:8080"),
        ("ARM_ENDPOINT", "http://127.0.0.1.example.org"),
        ("ARM_ENDPOINT", "http://127.0.0.1@example.org"),
    ],
)
def test_a_malformed_setting_of_the_machine_hook_is_named(name: Any, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=name):
        AksSettings.from_environ({**MACHINE, name: value})


def test_where_the_nodes_go_is_read() -> None:
    subnet = (
        "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/n"
    )
    env = {**MACHINE, "KAITO_POOL_ZONES": "1, 3", "KAITO_POOL_SUBNET_ID": subnet}
    settings = AksSettings.from_environ(env)
    assert (settings.zones, settings.subnet_id) == (("1", "3"), subnet)


def test_a_stand_in_is_an_address_on_this_host() -> None:
    env = {**MACHINE, "ARM_ENDPOINT": "http://127.0.0.1:8080/"}
    assert AksSettings.from_environ(env).is_stand_in
    assert AksSettings.from_environ(env).identity is None
    assert is_loopback("http://[::1]:1")
    assert not is_loopback("https://127.0.0.1")


def test_lists_may_be_separated_by_blanks_or_commas(tmp_path: Path) -> None:
    env = {**WORKSPACE, "KAITO_RUNTIME_COMPUTE_CAPABILITIES": "7.0, 8.0 9.0"}
    assert WorkspaceSettings.from_environ(env).compute_capabilities == ("7.0", "8.0", "9.0")


def test_the_runtimes_are_those_of_the_annotation() -> None:
    assert tuple(Runtime) == RUNTIMES
    env = {**WORKSPACE, "KAITO_VLLM_IMAGE": "r/vllm:1", "KAITO_DEFAULT_RUNTIME": "vllm"}
    settings = WorkspaceSettings.from_environ(env)
    assert (settings.runtime, settings.vllm_image) == ("vllm", "r/vllm:1")


def test_the_hook_token_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    settings = MachineHookSettings.from_environ({"KAITO_HOOK_TOKEN_FILE": str(file)}, PROVIDERS)
    assert settings.hook_token == "hunter2"
    assert "hunter2" not in repr(settings)


def test_aks_makes_the_nodes_unless_another_provider_is_named() -> None:
    assert MachineHookSettings.from_environ({}, PROVIDERS).provider == "aks"
    for name in ("aks", "karpenter", "byo"):
        assert (
            MachineHookSettings.from_environ({"KAITO_NODE_PROVIDER": name}, PROVIDERS).provider
            == name
        )


def test_a_provider_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidSettings, match=r"KAITO_NODE_PROVIDER must be one of aks, .*'gcp'"):
        MachineHookSettings.from_environ({"KAITO_NODE_PROVIDER": "gcp"}, PROVIDERS)


def test_karpenter_needs_no_setting_on_aks() -> None:
    settings = KarpenterSettings.from_environ({})
    assert settings.node_class_group == "karpenter.azure.com"
    assert settings.node_class_kind == "AKSNodeClass"
    assert settings.node_class_name == "default"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAITO_INSTALL_ID", "no label"),
        ("KAITO_INSTALL_ID", "_x"),
        ("KAITO_NODE_CLASS_GROUP", "Karpenter/v1"),
        ("KAITO_NODE_CLASS_KIND", "aksnodeclass"),
        ("KAITO_NODE_CLASS_NAME", "Default"),
    ],
)
def test_a_malformed_setting_of_karpenter_is_named(name: Any, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=name):
        KarpenterSettings.from_environ({name: value})
