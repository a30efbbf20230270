from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def modules_after(statement: Any) -> Any:
    found = subprocess.run(
        [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.split())


def test_the_shell_loads_no_cloud_code() -> None:
    loaded = modules_after("import kaito_hooks.web")
    assert not {
        name for name in loaded if name.startswith(("azure", "kaito_hooks.providers.aks", "msal"))
    }


def test_the_machine_hook_loads_no_credentials_for_a_stand_in() -> None:
    loaded = modules_after(
        "from kaito_hooks.providers.aks.settings import AksSettings as S;"
        "from kaito_hooks.providers.aks.provider import AksProvider as P;"
        "P(S('s', 'r', 'c', 'i', arm_endpoint='http://127.0.0.1:1'), None)"
    )
    assert "azure.identity" not in loaded


@pytest.mark.parametrize(
    ("provider", "foreign"), [("karpenter", {"azure"}), ("byo", {"azure", "kubernetes"})]
)
def test_a_provider_loads_no_other_cloud(provider: Any, foreign: Any) -> None:
    loaded = modules_after(
        "from kaito_hooks.providers.table import provider_of; import os;"
        f"print(type(provider_of('{provider}', os.environ, None)).__name__)"
    )
    assert not foreign & loaded


def test_karpenters_provider_loads_no_typed_api_with_its_hundred_megabytes_of_models() -> None:
    loaded = modules_after(
        "from kaito_hooks.providers.table import provider_of; provider_of('karpenter', {}, None)"
    )
    assert "kubernetes.client.api.custom_objects_api" in loaded
    assert "kubernetes.client.api.core_v1_api" not in loaded
