"""The rows that the code and the tests name stand in docs/machine-states.md."""

from __future__ import annotations

import re

import pytest

from tests.harness.wire import ROOT

PAGE = (ROOT / "docs/machine-states.md").read_text(encoding="utf-8")
STATES, FAULTS = PAGE.split("\n## Faults\n")


def rows(text: str) -> set[str]:
    return set(re.findall(r"^\| (F?\d+[a-g]?) \|", text, re.MULTILINE))


def texts(pattern: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob(pattern)))


def test_every_row_that_the_code_names_is_in_the_table() -> None:
    code = texts("hooks/kaito_hooks/machine/*.py")
    named = set(re.findall(r"\b(F\d[ab]?)\b", code))
    for group in re.findall(r"\b[Rr]ows? (\d+[a-g]?(?:(?:, | to | and | or )\d+[a-g]?)*)", code):
        named |= set(re.findall(r"\d+[a-g]?", group))
    assert len(named) > 20
    assert named - rows(STATES) == set()


@pytest.mark.parametrize(
    ("pattern", "table"),
    [
        ("tests/unit/machine/test_sync.py", rows(STATES)),
        ("tests/unit/machine/test_finalize.py", rows(STATES)),
        ("tests/unit/aks/test_*.py", rows(FAULTS)),
    ],
)
def test_every_row_that_a_test_names_is_in_the_table(pattern: str, table: set[str]) -> None:
    named = {
        name[0].upper() + name[1:]
        for name in re.findall(r"def test_(f?\d+[a-g]?)_", texts(pattern))
    }
    assert named
    assert named - table == set()


def test_no_room_of_the_hooks_names_a_table_that_is_not_in_the_tree() -> None:
    assert (
        re.findall(r"aks\.md|metacontroller\.md|contract row", texts("hooks/kaito_hooks/**/*.py"))
        == []
    )
