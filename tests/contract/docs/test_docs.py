"""The documentation names what exists, and everything that exists is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from docs import generate
from kaito_contract.reasons import Reason
from kaito_hooks.api import labels
from kaito_hooks.web.workspace import load_presets
from kaito_hooks.workspace import api, conditions, reasons
from kaito_laptop.cli import command

from tests.harness.wire import ROOT

API = (ROOT / "docs/workspace-api.md").read_text(encoding="utf-8")
CODE = sorted(
    [value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)]
    + list(Reason)
)


def test_every_reason_of_a_workspace_is_documented_and_no_other() -> None:
    section = API.split("## Reasons")[1].split("## Labels")[0]
    documented = re.findall(r"^\| `([A-Za-z]+)` \|", section, re.MULTILINE)
    assert sorted(documented) == CODE


@pytest.mark.parametrize("page", generate.PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_what_make_docs_writes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert generate.written(text) == text


def test_every_table_that_is_generated_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in generate.PAGES)
    assert [name for name in generate.TABLES if f"<!-- {name}: begin -->" not in text] == []


def test_every_condition_is_documented_and_no_other() -> None:
    section = API.split("## Conditions of a Workspace")[1].split("## Reasons")[0]
    documented = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        for name in re.findall("`(.*?)`", row)
    }
    assert documented == set(conditions.TYPES)


def test_every_key_of_ours_is_documented() -> None:
    keys = [
        value
        for name, value in vars(labels).items()
        if name.isupper() and str(value).startswith("kaito.sh/")
    ]
    assert [key for key in keys if f"`{key}`" not in API] == []


NOT_YET = {".".join(path) for path in api.NOT_YET}


def test_a_field_that_is_refused_says_so_and_no_other() -> None:
    """What `kubectl explain` shows, held against the table of what the hook refuses."""
    crd = yaml.safe_load((ROOT / "crds/kaito.sh_workspaces.yaml").read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    marked = {
        path.replace("[]", "")
        for path, field in generate.fields(schema)
        if field["description"].startswith("Not supported yet:")
    }
    assert marked >= NOT_YET
    below = {path for path in marked if path.startswith(tuple(f"{each}." for each in NOT_YET))}
    assert marked - below == NOT_YET


def test_the_presets_that_are_refused_are_listed() -> None:
    section = API.split("## Not supported yet")[1].split("## Fields of a Workspace")[0]
    presets = load_presets().presets.values()
    distributed = {preset.name for preset in presets if preset.distributed}
    assert set(re.findall(r"`(llama-2-[a-z0-9-]+)`", section)) == distributed


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md"], ids=lambda path: path.name
)
def test_every_link_and_make_target_exists(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", text):
        assert (page.parent / link).exists(), link
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for match in re.findall(r"(?:^|`|\s)make ([a-z][a-z-]+)(?=`|\s+#|$)", text, re.MULTILINE):
        assert match in targets, match


COLUMNS = 100


@pytest.mark.parametrize("page", generate.PAGES, ids=lambda page: page.name)
def test_the_sentences_of_a_page_are_wrapped(page: Path) -> None:
    """Tables, commands and what can't be broken (code, the target of a link) are as long as they are."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.DOTALL)
    lines = [re.sub(r"`[^`]*`|\]\([^)]*\)", "", line) for line in text.splitlines()]
    assert [line for line in lines if len(line) > COLUMNS and not line.startswith("|")] == []


def test_every_example_is_a_workspace_that_the_presets_know() -> None:
    for path in (ROOT / "examples").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] == "Workspace":
                section = document.get("tuning") or document["inference"]
                if "preset" in section:
                    assert section["preset"]["name"] in load_presets().presets, path


def test_every_flag_of_the_kaito_command_is_documented() -> None:
    text = (ROOT / "docs/laptop.md").read_text(encoding="utf-8")
    commands: Mapping[str, Any] = vars(get_command(command.app))["commands"]
    assert commands
    for name, each in commands.items():
        assert f"kaito {name}" in text, name
        assert all([each.help, *(parameter.help for parameter in each.params)]), name
        flags = [flag for parameter in each.params for flag in parameter.opts if flag[:2] == "--"]
        assert all(f"`{flag}`" in text for flag in flags), (name, flags)
