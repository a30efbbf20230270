"""docs/operations.md names each setting of the Machine hook, and no others."""

from __future__ import annotations

import re

from tests.harness.wire import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
IDENTITY = {
    *("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"),
    "AZURE_FEDERATED_TOKEN_FILE",
}
"""Set by the webhook of workload identity, not by people."""


def rows(section: str) -> list[str]:
    found = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", found, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([A-Za-z_]+)`", cell)]


def read_by(provider: str) -> set[str]:
    """Names of the variables that a provider's settings read."""
    code = ROOT / f"hooks/kaito_hooks/providers/{provider}/settings.py"
    return set(re.findall(r'env, "([A-Z_]+)"', code.read_text(encoding="utf-8")))


def test_every_setting_of_the_hook_is_documented() -> None:
    read = {"KAITO_NODE_PROVIDER", "KAITO_HOOK_TOKEN_FILE", *read_by("aks")} - IDENTITY
    assert set(rows("Settings of the node provisioner")) == read


def test_every_setting_of_karpenter_is_documented() -> None:
    assert read_by("karpenter") <= set(rows("Nodes by Karpenter"))
