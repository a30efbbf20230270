"""Writing an object that others write as well."""

from __future__ import annotations

from collections.abc import Callable

from kaito_laptop.core.cluster import Conflict

TRIES = 10


def retry_on_conflict(act: Callable[[], object]) -> None:
    """Do what reads and writes again when somebody wrote in between."""
    for _ in range(TRIES - 1):
        try:
            act()
        except Conflict:
            continue
        return
    act()
