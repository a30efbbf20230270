"""Fingerprints that clusters hold: another value for the same input would spend GPU hours again."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_hooks.kube.fingerprint import fingerprint


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({}, "44136fa355b3678a"),
        ({"b": 1, "a": [True, None, "x"]}, "54a65415ad370228"),
        ({"é": 'ü\u2028\x7f\x01/\\"😀\n', "\uffff": -1, "😀": 2}, "162bc9d848f73fb6"),
    ],
)
def test_a_fingerprint_stays_what_it_was_in_every_version(value: Any, wanted: str) -> None:
    assert fingerprint(value) == wanted


def test_the_order_of_keys_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
