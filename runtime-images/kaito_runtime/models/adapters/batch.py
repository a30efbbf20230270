"""Which row of a batch uses which adapter, and how much of it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Batch:
    """Factors of one or more forward passes, and what the modules made of them."""

    def __init__(self, weights: Sequence[Mapping[str, float]]):
        """Take a mapping of adapters to factors for each row."""
        self.rows = len(weights)
        self.used = frozenset(
            name for row in weights for name, factor in row.items() if factor != 0.0
        )
        """Adapters that change any row."""
        self._weights = weights
        self._terms: dict[Hashable, Any] = {}

    def factors(self, names: Sequence[str]) -> Tensor:
        """Return the factors of these adapters, [rows, names] float32 on the CPU."""
        values = [[row.get(name, 0.0) for name in names] for row in self._weights]
        return torch.tensor(values, dtype=torch.float32)

    def rows_of(self, name: str) -> list[int]:
        """Return the rows that use an adapter."""
        return [number for number, row in enumerate(self._weights) if row.get(name, 0.0) != 0.0]

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what was made for this key, made when it is asked for first."""
        if key not in self._terms:
            self._terms[key] = make()
        return self._terms[key]


@dataclass(frozen=True, slots=True)
class Columns:
    """The part of a stacked product that a batch needs."""

    part: slice
    factors: Tensor
    """[rows, 1, columns]"""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole weight that some rows of a batch use."""

    rows: Tensor | None
    """Their numbers, [rows used] int64; None for all."""
    factors: Tensor
    """[rows used, 1, 1]"""
    weight: Tensor


@dataclass(frozen=True, slots=True)
class Terms:
    """What a module adds to its output in a batch; see Change."""

    columns: Columns | None = None
    gain: Tensor | None = None
    """[rows, 1, outputs]"""
    shift: Tensor | None = None
    """[rows, 1, outputs]; what the gain makes of the bias is taken off."""
    wholes: tuple[Whole, ...] = ()
