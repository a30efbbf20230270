"""Which row of a batch uses which adapter, and how much of it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Batch:
    """The factors of each row, and what modules of the same columns made of them."""

    def __init__(self, weights: Sequence[Mapping[str, float]]):
        """Take a mapping of adapters to factors for each row."""
        self.rows = len(weights)
        self.used = frozenset(
            name for row in weights for name, factor in row.items() if factor != 0.0
        )
        """Adapters that change any row."""
        self._weights = weights
        self._made: dict[Hashable, Tensor] = {}

    def factors(self, names: Sequence[str]) -> Tensor:
        """Return the factors of these adapters, [rows, names] float32 on the CPU."""
        values = [[row.get(name, 0.0) for name in names] for row in self._weights]
        return torch.tensor(values, dtype=torch.float32)

    def rows_of(self, name: str) -> list[int]:
        """Return the rows that use an adapter."""
        return [number for number, row in enumerate(self._weights) if row.get(name, 0.0) != 0.0]

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what was made for this key, made when it is asked for first."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


@dataclass(frozen=True, slots=True)
class Product:
    """The part of the stacked matrices that a batch needs."""

    down: Tensor
    """[columns, inputs]; of an embedding [rows, columns]."""
    factors: Tensor
    """[rows of the batch, 1, columns]"""
    up: Tensor
    """[columns, outputs]"""


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

    rows: int
    product: Product | None
    gain: Tensor | None
    """[rows, 1, outputs]"""
    shift: Tensor | None
    """[rows, 1, outputs]; what the gain makes of the bias is taken off."""
    wholes: tuple[Whole, ...]
