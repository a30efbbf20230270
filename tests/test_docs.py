"""The documentation names what exists, and everything that exists is in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from kaito_hooks.kube import labels
from kaito_hooks.workspace import reasons, status
from kaito_laptop import command

from support.wire import ROOT

API = (ROOT / "docs/workspace-api.md").read_text(encoding="utf-8")
CODE = sorted(
    value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)
)


def test_every_reason_of_a_workspace_is_documented_and_no_other() -> None:
    section = API.split("## Reasons")[1].split("## Labels")[0]
    documented = re.findall(r"^\| `([A-Za-z]+)` \|", section, re.MULTILINE)
    assert sorted(documented) == CODE


def test_every_condition_is_documented_and_no_other() -> None:
    section = API.split("## Conditions of a Workspace")[1].split("## Reasons")[0]
    documented = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        for name in re.findall("`(.*?)`", row)
    }
    assert documented == set(status.TYPES)


def test_every_key_of_ours_is_documented() -> None:
    keys = [
        value
        for name, value in vars(labels).items()
        if name.isupper() and str(value).startswith("kaito.sh/")
    ]
    assert [key for key in keys if f"`{key}`" not in API] == []


@pytest.mark.parametrize("plural", ["workspaces", "machines"])
def test_every_field_is_documented_in_the_words_of_the_crd(plural: str) -> None:
    crd = yaml.safe_load((ROOT / f"crds/kaito.sh_{plural}.yaml").read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    missing = [
        (path, text)
        for path, text in fields(schema)
        if f"| `{path}` |" not in API or text not in API
    ]
    assert missing == []


def fields(schema: dict[str, Any], path: str = "") -> list[tuple[str, str]]:
    found = []
    for name, item in schema.get("properties", {}).items():
        if not path and name in ("apiVersion", "kind", "metadata"):
            continue
        where = f"{path}.{name}" if path else name
        inner = item
        if item.get("type") == "array":
            where, inner = f"{where}[]", item["items"]
        found.append((where, " ".join(item.get("description", "").split())))
        found += fields(inner, where)
    return found


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


def test_every_example_is_a_workspace_that_the_presets_know() -> None:
    from kaito_hooks.web.workspace import load_presets

    for path in (ROOT / "examples").rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] == "Workspace":
                section = document.get("tuning") or document["inference"]
                if "preset" in section:
                    assert section["preset"]["name"] in load_presets().presets, path


def test_every_flag_of_the_kaito_command_is_documented() -> None:
    text = (ROOT / "docs/laptop.md").read_text(encoding="utf-8")
    commands = next(
        action.choices for action in command.parser()._actions if isinstance(action.choices, dict)
    )
    assert commands
    for name, parser in commands.items():
        assert f"kaito {name}" in text, name
        for action in parser._actions:
            flags = [
                flag for flag in action.option_strings if flag.startswith("--") and flag != "--help"
            ]
            assert all(f"`{flag}`" in text for flag in flags), (name, flags)
