"""Amounts of memory: read as bytes, written as the API server writes them, so that no answer ever drifts."""

from __future__ import annotations

from decimal import Decimal

GIB = 1 << 30
"""Bytes in a gibibyte."""

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def parse_binary(value: str) -> int:
    """Bytes of a quantity such as '16Gi'; raise ValueError without one of the units Ki, Mi, Gi, Ti."""
    unit = _UNITS.get(value[-2:])
    if unit is None:
        raise ValueError(f"'{value}' must end with Ki, Mi, Gi or Ti")
    return int(Decimal(value[:-2]) * unit)


def gib(bytes_: int) -> str:
    """Bytes for people, as in '7.2 GiB'."""
    amount = f"{bytes_ / GIB:.1f}".removesuffix(".0")
    return f"{amount} GiB"
