"""docs/sizes.md is the catalogue of presets.yaml, and no page or manifest names a retired size as one to take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import DEFAULT_PRICE_REGION, InstanceType
from kaito_hooks.web.workspace import load_presets

from tests.harness.wire import ROOT

PRESETS = load_presets()
CATALOGUE = ROOT / "docs/sizes.md"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MANIFESTS = [
    path for folder in ("examples", "manifests", "crds") for path in (ROOT / folder).rglob("*.yaml")
]
RETIRED = {name for name, size in PRESETS.instance_types.items() if size.retired}
HEAD = (
    "| size | GPUs | GPU memory, GiB | compute capability | vCPUs | memory, GiB | USD an hour | |",
    "|---|---|--:|--:|--:|--:|--:|---|",
)


def row(size: InstanceType) -> str:
    each = size.memory_per_gpu // GIB
    region = "" if size.price_region == DEFAULT_PRICE_REGION else f" ({size.price_region})"
    cells = [
        f"`{size.name}`",
        f"{size.gpus} x {size.gpu}",
        f"{size.memory // GIB}" if size.gpus == 1 else f"{size.gpus} x {each}",
        size.compute_capability,
        f"{size.vcpus}",
        f"{size.host_memory // GIB}",
        f"{size.hourly_cost}{region}",
        note(size),
    ]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def note(size: InstanceType) -> str:
    if size.retired:
        return (
            f"retired {size.retired}; instead: {', '.join(f'`{each}`' for each in size.successors)}"
        )
    return size.not_suggested


def test_the_catalogue_is_the_one_of_the_presets() -> None:
    rows = [*HEAD, *map(row, PRESETS.instance_types.values())]
    lines = CATALOGUE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `Standard_") or line in HEAD] == rows


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
