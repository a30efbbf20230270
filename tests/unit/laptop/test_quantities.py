"""Quantities as the API server writes them back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_laptop.core import quantities


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1", "1"),
        (1, "1"),
        (0.5, "500m"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("0.1n", "1n"),
        ("0", "0"),
        ("-1Gi", "-1Gi"),
        ("100M", "100M"),
    ],
)
def test_a_quantity_is_stored_in_its_canonical_form(written: Any, stored: Any) -> None:
    assert quantities.canonical(written) == stored


@pytest.mark.parametrize("text", ["", "1GiB", "one", "1 Gi", "Gi"])
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    with pytest.raises(quantities.InvalidQuantityError):
        quantities.canonical(text)


@given(st.integers(0, 10**6), st.sampled_from(["m", "", "k", "M", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_has_the_same_value_and_is_final(number: int, suffix: Any) -> None:
    text = quantities.canonical(f"{number}{suffix}")
    assert quantities.parse(text) == quantities.parse(f"{number}{suffix}")
    assert quantities.canonical(text) == text
