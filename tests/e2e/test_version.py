"""The Metacontroller that the stories run with."""

from __future__ import annotations

import pytest

from tests.e2e import metacontroller


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("v4.12.5", "Metacontroller 4.12.5 is too old, 4.17.2 or later is needed; docker create"),
        ("4.17.1", "Metacontroller 4.17.1 is too old"),
        ("v4.17.2", ""),
        ("v5.0.0-rc1", ""),
        ("No version provided", ""),
    ],
)
def test_one_that_is_too_old_is_told_with_what_to_do(version: str, words: str) -> None:
    found = metacontroller.too_old(f'{{"level":"info","version":"{version}"}}')
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_the_one_that_is_found_tells_its_version() -> None:
    program = metacontroller.find()
    if program is None:
        pytest.skip(metacontroller.HOW_TO_GET)
    assert '"version":' in metacontroller.says(program)
