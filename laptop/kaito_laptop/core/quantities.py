"""Kubernetes quantities: "1000m" is 1, and the API server writes it back as "1"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_PATTERN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|[eE]([+-]?\d+)|([numkMGTPE]?))")


class InvalidQuantityError(ValueError):
    """The text is not a quantity."""


def _parse(quantity: str | int | float) -> tuple[Fraction, str]:
    """Return the value and how it was written: binary, decimal or exponent."""
    text = repr(quantity) if isinstance(quantity, float) else str(quantity)
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise InvalidQuantityError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, binary, exponent, suffix = found.groups()
    value = Fraction(Decimal(number))
    if binary:
        return value * 1024 ** BINARY[binary], "binary"
    if exponent:
        return value * Fraction(10) ** int(exponent), "exponent"
    return value * Fraction(1000) ** DECIMAL[suffix or ""], "decimal"


def parse(quantity: str | int | float) -> Fraction:
    """Return the exact value."""
    return _parse(quantity)[0]


def canonical(quantity: str | int | float) -> str:
    """Write a quantity as the API server does: no fraction, the largest suffix, at least nano."""
    return _written(*_parse(quantity))


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount that remembers how it was written, as resource.Quantity of Kubernetes does."""

    value: Fraction
    written: str = "decimal"

    @classmethod
    def of(cls, quantity: str | int | float) -> Quantity:
        """Read a quantity."""
        return cls(*_parse(quantity))

    def __add__(self, other: Quantity) -> Quantity:
        """The sum is written as the first of the two, unless that is zero."""
        return Quantity(self.value + other.value, (self if self.value else other).written)

    def __str__(self) -> str:
        """As the API server writes it."""
        return _written(self.value, self.written)


def _written(value: Fraction, written: str) -> str:
    if written == "binary" and abs(value) >= 1024:
        whole = _ceiling(value)
        suffix = ""
        for each in BINARY:
            if whole % 1024:
                break
            whole, suffix = whole // 1024, each
        return f"{whole}{suffix}"
    nano = _ceiling(value * 10**9)
    if nano == 0:
        return "0"
    exponent = -9
    while nano % 1000 == 0 and exponent < 18:
        nano, exponent = nano // 1000, exponent + 3
    if written == "exponent":
        return f"{nano}e{exponent}" if exponent else str(nano)
    return str(nano) + next(each for each, power in DECIMAL.items() if power * 3 == exponent)


def _ceiling(value: Fraction) -> int:
    """Round away from zero, as resource.Quantity does with what is smaller than it can hold."""
    whole = -(-abs(value.numerator) // value.denominator)
    return whole if value >= 0 else -whole
