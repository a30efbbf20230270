"""docs/metacontroller-contract.md has the rules that tests name, and no others."""

from __future__ import annotations

import re

from tests.harness.wire import ROOT

ROW = re.compile(r"^\| (C\d\d) \|.*\| ([^|]+) \|$", re.MULTILINE)
PAGE = (ROOT / "docs/metacontroller-contract.md").read_text(encoding="utf-8")
HELD_BY: dict[str, str] = dict(ROW.findall(PAGE))
WIRE = ROOT / "tests/harness/wire.py"
FILES = {"every answer": WIRE} | {
    path.name: path for path in (ROOT / "tests/contract/machine_hook").glob("test_*.py")
}


def named_in(text: str) -> set[str]:
    """The numbers in a text, those between the two of a range and those of test names included."""
    found = {number.upper() for number in re.findall(r"(?:\b|_)([Cc]\d\d)(?=\b|_)", text)}
    for first, last in re.findall(r"C(\d\d)-C(\d\d)", text):
        found |= {f"C{number:02}" for number in range(int(first), int(last) + 1)}
    for first, last in re.findall(r"_c(\d\d)_to_c(\d\d)_", text):
        found |= {f"C{number:02}" for number in range(int(first), int(last) + 1)}
    return found


def test_numbers_are_found_in_words_ranges_and_names_of_tests() -> None:
    assert named_in("C01 C40-C42, def test_c26_to_c28_a() test_c63_c64_b abc12 C100") == {
        *("C01", "C26", "C27", "C28", "C40", "C41", "C42", "C63", "C64")
    }


def test_each_number_is_on_the_page_once() -> None:
    assert len(ROW.findall(PAGE)) == len(HELD_BY) > 40


def test_each_number_that_a_test_names_is_on_the_page() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name != "test_metacontroller_contract.py":
            unknown = named_in(path.read_text(encoding="utf-8")) - HELD_BY.keys()
            assert not unknown, (path, unknown)


def test_each_rule_is_held_where_the_page_says() -> None:
    for number, held_by in HELD_BY.items():
        for name in held_by.replace("`", "").split(", "):
            assert number in named_in(FILES[name].read_text(encoding="utf-8")), (number, name)
