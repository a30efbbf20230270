"""No page or manifest names a retired size as one to take, and other names of sizes are said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kaito_hooks.web.workspace import load_presets

from tests.harness.wire import ROOT

PRESETS = load_presets()
CATALOGUE = ROOT / "docs/sizes.md"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MANIFESTS = [
    path for folder in ("examples", "manifests", "crds") for path in (ROOT / folder).rglob("*.yaml")
]
RETIRED = {name for name, size in PRESETS.instance_types.items() if size.retired}


def test_the_other_names_are_those_of_the_presets() -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    for alias, name in PRESETS.instance_type_aliases.items():
        assert f"`{alias}` is another name of `{name}`" in text


@pytest.mark.parametrize("path", [*PAGES, *MANIFESTS], ids=lambda path: path.name)
def test_a_retired_size_is_named_only_where_it_is_said_to_be_retired(path: Path) -> None:
    """On the same line or the next one, as sentences are wrapped."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".yaml":
        found = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if not RETIRED & set(re.findall(r"Standard_\w+", str(list(found)))):
            return
    for number, line in enumerate(lines):
        if RETIRED & set(re.findall(r"Standard_\w+", line)):
            near = " ".join(lines[number : number + 2]) if path.suffix == ".md" else lines[0]
            assert "retired" in near, line
