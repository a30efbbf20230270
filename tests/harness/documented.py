"""Commands of the documentation as data, for tests that do what they say."""

from __future__ import annotations

import re

from tests.harness.wire import ROOT


def quota() -> dict[str, str]:
    """What `kubectl create quota` of docs/operations.md allows."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    found = re.search(r"kubectl create quota \S+ -n NAMESPACE --hard=(\S+)", text)
    assert found
    return dict(pair.split("=") for pair in found[1].split(","))
