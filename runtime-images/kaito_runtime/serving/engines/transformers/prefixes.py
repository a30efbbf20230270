"""Keys and values of what has been computed before: a conversation goes on where it stopped, and a prompt
that many share is computed once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaito_runtime.serving.engines.rows import Row
from kaito_runtime.serving.engines.transformers.replica import Replica
from kaito_runtime.serving.engines.transformers.slots import Slots

SHORTEST = 32
"""Tokens below which computing is as fast as copying."""


@dataclass(frozen=True)
class _Kept:
    tokens: Sequence[int]
    key: Any
    size: int
    """Bytes."""


class PrefixCache:
    """What ended sequences have left, the oldest forgotten first."""

    def __init__(self, replica: Replica, budget: int):
        """`budget` is the most bytes that it may take."""
        self._replica = replica
        self._budget = budget
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._taken = 0
        self._next = 0
        self.queried = 0
        """Tokens of prompts that were looked for."""
        self.found = 0
        """Tokens that were there."""

    def fill(self, row: Row, slots: Slots) -> None:
        """Copy what is known of a row's tokens into its slot; the last token is always computed."""
        most = len(row.tokens) - 1
        self.queried += most
        best, source = 0, None
        for other in slots:
            if other is not row and other.job.key == row.job.key:
                length = min(most, _common(row.tokens, other.tokens[: other.cached]))
                if length > best:
                    best, source = length, other
        number = None
        for key, kept in self._kept.items():
            if kept.key == row.job.key:
                length = min(most, _common(row.tokens, kept.tokens))
                if length > best:
                    best, number = length, key
        if best < SHORTEST:
            return
        target = slots.number(row)
        if number is not None:
            self._kept.move_to_end(number)
            self._replica.restore(number, target, best)
        elif source is not None:
            self._replica.copy(slots.number(source), target, best)
        row.cached = row.reused = best
        self.found += best

    def keep(self, row: Row, slots: Slots) -> None:
        """Remember what a row has computed, before its slot is given to another."""
        size = row.cached * slots.pool.bytes_per_position()
        if row.cached < SHORTEST or not size or size > self._budget // 4:
            return
        tokens = row.tokens[: row.cached]
        for number, kept in list(self._kept.items()):
            if kept.key == row.job.key and _begins(kept.tokens, tokens):
                self._kept.move_to_end(number)
                return
            if kept.key == row.job.key and _begins(tokens, kept.tokens):
                self._forget(number)
        while self._kept and self._taken + size > self._budget:
            self._forget(next(iter(self._kept)))
        self._replica.keep(self._next, slots.number(row), row.cached)
        self._kept[self._next] = _Kept(tokens, row.job.key, size)
        self._next += 1
        self._taken += size

    def clear(self) -> None:
        """Give all memory back."""
        if self._kept:
            self._replica.forget(list(self._kept))
        self._kept.clear()
        self._taken = 0

    def _forget(self, number: int) -> None:
        self._replica.forget([number])
        self._taken -= self._kept.pop(number).size


def _begins(text: Sequence[int], beginning: Sequence[int]) -> bool:
    return text[: len(beginning)] == beginning


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with alike."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next(n for n in range(most) if one[n] != other[n])
