"""A reason as a record: the word that programs compare, with what the documentation says of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, TypeVar


class Reason(str):
    """Compares, sorts and prints as its name; its tables in docs/ are made of it (`make docs`)."""

    text: str
    """What it means."""
    remedy: str
    """What to do; "-" for nothing."""
    needs_person: bool
    """Whether waiting does not cure it."""

    def __new__(
        cls, name: str, text: str = "", remedy: str = "-", *, needs_person: bool = False
    ) -> Self:
        """Make the record; a copy is made with the name alone, and then given the rest."""
        reason = super().__new__(cls, name)
        reason.text, reason.remedy, reason.needs_person = text, remedy, needs_person
        return reason


R = TypeVar("R", bound=Reason)


def records_of(kind: type[R], values: Iterable[object]) -> tuple[R, ...]:
    """Those of the values that are records of a kind, in their order, each once."""
    return tuple(dict.fromkeys(value for value in values if isinstance(value, kind)))
