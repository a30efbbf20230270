"""Amounts of memory and processors, written as the API server writes them, so that no answer ever drifts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

GIB = 1 << 30
"""Bytes in a gibibyte."""

_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_SUFFIXES: Mapping[str, Decimal] = {
    "": Decimal(1),
    **{unit: Decimal(amount) for unit, amount in _UNITS.items()},
    **{"Pi": Decimal(1 << 50), "Ei": Decimal(1 << 60)},
    **{"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")},
    **{unit: Decimal(10) ** power for unit, power in zip("kMGTPE", range(3, 19, 3), strict=True)},
}
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)([a-zA-Z]{0,2})"
)


def parse_binary(value: str) -> int:
    """Bytes of a quantity such as '16Gi'; raise ValueError without one of the units Ki, Mi, Gi, Ti."""
    unit = _UNITS.get(value[-2:])
    if unit is None:
        raise ValueError(f"'{value}' must end with Ki, Mi, Gi or Ti")
    return int(Decimal(value[:-2]) * unit)


def quantity(value: object) -> Decimal:
    """Any quantity of the Kubernetes API, such as '500m', '64Gi' or 2; 0 for what is none.

    Source: k8s.io/apimachinery/pkg/api/resource, Quantity.
    """
    found = _QUANTITY.fullmatch(str(value).strip()) if isinstance(value, str | int) else None
    if found is None or found[2] not in _SUFFIXES:
        return Decimal(0)
    return Decimal(found[1]) * _SUFFIXES[found[2]]


def binary(bytes_: int) -> str:
    """Bytes, up to a whole MiB, as the API server writes them: in the largest unit that divides them ('1536Mi')."""
    amount = -(-bytes_ // _UNITS["Mi"]) * _UNITS["Mi"]
    for unit, size in reversed(_UNITS.items()):
        if amount and amount % size == 0:
            return f"{amount // size}{unit}"
    return "0"


def cores(millicores: int) -> str:
    """Processors as the API server writes them, as in '2' or '250m'."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def gib(bytes_: int) -> str:
    """Bytes for people, as in '7.2 GiB'."""
    amount = f"{bytes_ / GIB:.1f}".removesuffix(".0")
    return f"{amount} GiB"
