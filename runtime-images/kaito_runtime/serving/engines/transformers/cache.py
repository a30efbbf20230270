"""The key-value cache: one slot for each sequence, written in place at the sequence's own length.

Concatenating a DynamicCache costs a fifth of a decode step, and more the longer the sequences; here a
step writes one position per sequence, and attention reads a view. Sequences that are decoded lie in the
first slots, so that the view needs no copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

SMALLEST_CAPACITY = 64
"""Positions of a slot; a pool grows by doubling."""
Prefix = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, [heads, positions, head size]."""


@dataclass
class Step:
    """What a forward pass writes and reads, for all layers."""

    slots: torch.Tensor
    """[rows] int64."""
    positions: torch.Tensor
    """[rows, tokens] int64: where each new token is written."""
    width: int
    """How many positions are read, of every slot."""
    first: int | None
    """The first slot, where the slots follow one another; None otherwise."""
    _there: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return slots and positions on the device of a layer, where layers lie on several."""
        if device == self.positions.device:
            return self.slots, self.positions
        if device not in self._there:
            self._there[device] = self.slots.to(device), self.positions.to(device)
        return self._there[device]


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, [slots, heads, capacity, head size]."""

    is_sliding = False
    keys: Any
    values: Any

    def __init__(self, pool: "SlotPool"):
        super().__init__()  # type: ignore[no-untyped-call]
        self._pool = pool

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make the tensors in the shape and on the device of the first keys and values."""
        slots, capacity = self._pool.slots, self._pool.capacity
        make = key_states.new_zeros
        self.keys = make((slots, key_states.shape[1], capacity, key_states.shape[3]))
        self.values = make((slots, value_states.shape[1], capacity, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [rows, heads, tokens, head size]; return what the rows have, [rows, heads, width, ...]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        step = self._pool.step
        slots, positions = step.on(key_states.device)
        self.keys[slots[:, None], :, positions] = key_states.transpose(1, 2)
        self.values[slots[:, None], :, positions] = value_states.transpose(1, 2)
        if step.first is not None:
            until = step.first + len(key_states)
            return (
                self.keys[step.first : until, :, : step.width],
                self.values[step.first : until, :, : step.width],
            )
        return (
            self.keys[slots, :, : step.width],
            self.values[slots, :, : step.width],
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the size of a mask that nobody makes: ours is given, with four dimensions."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """Return 0: each row has a length of its own, and positions are given."""
        return 0

    def get_max_length(self) -> int:
        """Return -1: there is no limit that the model has to know."""
        return -1

    def resize(self, slots: int, capacity: int) -> None:
        """Make room, or give it back; what lies in the first slots and positions stays."""
        if not self.is_initialized:
            return
        self.keys = _resized(self.keys, slots, capacity)
        self.values = _resized(self.values, slots, capacity)


class SlotPool(Cache):
    """A cache for transformers' models, whose rows come and go."""

    step: Step

    def __init__(self, layers: int, slots: int = 1, capacity: int = SMALLEST_CAPACITY):
        """Make an empty pool; its memory is taken with the first forward pass."""
        self.slots, self.capacity = slots, capacity
        self._kept: dict[int, Prefix] = {}
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])

    def bytes_per_position(self) -> int:
        """How much memory one position of one slot takes; 0 before the first forward pass."""
        return sum(
            tensor.shape[1] * tensor.shape[3] * tensor.element_size()
            for layer in self._filled()
            for tensor in (layer.keys, layer.values)
        )

    def devices(self) -> Sequence[torch.device]:
        """Return where each layer lies; empty before the first forward pass."""
        return [layer.keys.device for layer in self._filled()]

    def resize(self, slots: int, capacity: int) -> None:
        """Change the pool's size, layer by layer; raises what the device raises without memory."""
        for layer in self._filled():
            layer.resize(slots, capacity)
        self.slots, self.capacity = slots, capacity

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot to another."""
        for layer in self._filled():
            for tensor in (layer.keys, layer.values):
                tensor[target, :, :length] = tensor[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Exchange the first positions of two slots."""
        for layer in self._filled():
            for tensor in (layer.keys, layer.values):
                kept = tensor[one, :, :length].clone()
                tensor[one, :, :length] = tensor[other, :, :length]
                tensor[other, :, :length] = kept

    def keep(self, number: int, slot: int, length: int) -> None:
        """Keep a copy of the first positions of a slot, under a number."""
        self._kept[number] = [
            (layer.keys[slot, :, :length].clone(), layer.values[slot, :, :length].clone())
            for layer in self._filled()
        ]

    def restore(self, number: int, slot: int, length: int) -> None:
        """Put the first positions of what was kept into a slot."""
        for layer, (keys, values) in zip(self._filled(), self._kept[number], strict=True):
            layer.keys[slot, :, :length] = keys[:, :length]
            layer.values[slot, :, :length] = values[:, :length]

    def forget(self, numbers: Sequence[int]) -> None:
        """Free what was kept."""
        for number in numbers:
            del self._kept[number]

    def _filled(self) -> "Sequence[SlotLayer]":
        return [each for each in self.layers if isinstance(each, SlotLayer) and each.is_initialized]


def _resized(tensor: torch.Tensor, slots: int, capacity: int) -> torch.Tensor:
    made = tensor.new_zeros((slots, tensor.shape[1], capacity, tensor.shape[3]))
    rows, length = min(slots, tensor.shape[0]), min(capacity, tensor.shape[2])
    made[:rows, :, :length] = tensor[:rows, :, :length]
    return made
