"""What the rooms of the operator may speak of, beside what they may import (pyproject.toml, import-linter)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_hooks.providers.table import PROVIDERS

from tests.harness.wire import ROOT

HOOKS = ROOT / "hooks/kaito_hooks"
AZURE = re.compile(
    r"azure|\baks\b|aks'|\bagent ?pool|\bsubscription|\bvCPU quota|\baz \w|aka\.ms|KAITO_POOL_",
    re.IGNORECASE,
)
AT_HOME = ("providers/aks/", "presets/")
"""The provider itself; and what is known of sizes, which so far are Azure's."""
ELSEWHERE = {
    ("providers/table.py", "aks"): "the table of providers",
    ("providers/karpenter/claims.py", "aks"): "Karpenter on AKS: what AKS does to every node",
    (
        "providers/karpenter/error_mapping.py",
        "aks",
    ): "the value of KAITO_NODE_PROVIDER to set instead",
    ("providers/karpenter/messages.py", "subscription"): "the name of a reason of Karpenter's",
    ("providers/karpenter/settings.py", "azure"): "the default of a setting",
    ("settings.py", "aks"): "the registry in which Kaito publishes its images",
    ("workspace/context.py", "aks"): "the same, as an example",
}
"""Who else says a word, and why."""


def files() -> Iterator[tuple[str, str]]:
    for path in sorted(HOOKS.rglob("*.py")):
        yield path.relative_to(HOOKS).as_posix(), path.read_text(encoding="utf-8")


def sources_of_facts(text: str) -> str:
    """Without the addresses that say where a fact is from, such as Azure/AKS#1918."""
    return re.sub(r"\b[\w-]+/[\w-]+#\d+|\b\w+\.azurecr\.io\S*", "", text)


def test_only_the_provider_of_aks_speaks_of_azure() -> None:
    found = {
        (name, match[0].lower())
        for name, text in files()
        if not name.startswith(AT_HOME)
        for match in AZURE.finditer(sources_of_facts(text))
    }
    assert found - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() - found == set(), "an exception that is not needed any more"


def test_kube_knows_nothing_of_kaito() -> None:
    said = [name for name, text in files() if name.startswith("kube/") and "kaito.sh/" in text]
    assert said == []
    words = {word for name, text in files() if name.startswith("kube/") for word in strings(text)}
    assert [word for word in words if "kaito" in word.lower()] == []


def strings(text: str) -> Iterator[str]:
    """Values of the strings in the code, docstrings aside."""
    tree = ast.parse(text)
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_what_a_machine_says_to_its_workspace_is_written_once() -> None:
    shared = set(strings((HOOKS / "api/machines.py").read_text(encoding="utf-8"))) - {"Ready"}
    own = {"NodeNotReady"}  # Also what a Workspace says of a node that no Machine made.
    copies = {
        (name, word)
        for name, text in files()
        if name.startswith(("machine/", "workspace/"))
        for word in strings(text)
        if word in shared - own
    }
    assert copies == set()


@pytest.mark.parametrize("name", PROVIDERS)
def test_adding_a_provider_touches_its_package_and_the_table_alone(name: str) -> None:
    """No other room names a provider's module."""
    module = PROVIDERS[name]
    importers = {
        path
        for path, text in files()
        if not path.startswith("providers/") and module.removesuffix(".provider") in text
    }
    assert importers == set()
    assert (HOOKS / Path(*module.split(".")[1:])).with_suffix(".py").exists()
