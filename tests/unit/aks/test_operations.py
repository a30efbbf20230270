"""docs/operations.md names each reason of a Machine and each setting of its hook, and no others."""

from __future__ import annotations

import re

from kaito_hooks.machine import reasons

from tests.harness.wire import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
TYPES = {*reasons.PHASES, *reasons.PASSING, reasons.READY}


def rows(section: str) -> list[str]:
    found = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", found, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([A-Za-z_]+)`", cell)]


def test_every_reason_of_a_machine_has_its_remedy() -> None:
    known = {
        value
        for name, value in vars(reasons).items()
        if name.isupper() and isinstance(value, str) and value not in TYPES
    }
    assert sorted(rows("Reasons of a Machine")) == sorted(known)


def test_every_setting_of_the_hook_is_documented() -> None:
    code = (ROOT / "hooks/kaito_hooks/settings.py").read_text(encoding="utf-8")
    machine = code.split("class ProvisionerSettings")[1].split("class KarpenterSettings")[0]
    read = set(re.findall(r'env, "([A-Z_]+)"', machine)) | {
        "LOCATION",
        "ARM_ENDPOINT",
        "KAITO_HOOK_TOKEN_FILE",
    }
    assert set(rows("Settings of the node provisioner")) == read


def test_every_setting_of_karpenter_is_documented() -> None:
    code = (ROOT / "hooks/kaito_hooks/settings.py").read_text(encoding="utf-8")
    karpenter = code.split("class KarpenterSettings")[1].split("class SweepSettings")[0]
    read = set(re.findall(r'env, "([A-Z_]+)"', karpenter))
    assert read <= set(rows("Nodes by Karpenter"))
