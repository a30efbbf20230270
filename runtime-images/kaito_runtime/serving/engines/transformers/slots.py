"""Which row lies in which slot: those that are decoded first, and no hole between them."""

from collections.abc import Iterator

from kaito_runtime.serving.engines.rows import Row
from kaito_runtime.serving.engines.transformers.cache import SMALLEST_CAPACITY
from kaito_runtime.serving.engines.transformers.replica import Replica


class Slots:
    """The rows of a pool, by their slots; moves keys and values where rows move."""

    def __init__(self, replica: Replica, budget: int):
        """`budget` is the most bytes that the pool may take."""
        self.replica = replica
        self.pool = replica.pool
        self.budget = budget
        self._rows: list[Row] = []
        self._decoding = 0

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in the order of their slots."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._rows)

    @property
    def decoding(self) -> list[Row]:
        """The rows of which one token is left to compute: slots 0 and on."""
        return self._rows[: self._decoding]

    @property
    def filling(self) -> list[Row]:
        """The rows whose tokens are not all computed yet."""
        return self._rows[self._decoding :]

    def number(self, row: Row) -> int:
        """Return the slot of a row."""
        return self._rows.index(row)

    def fits(self, rows: int, length: int) -> bool:
        """Whether the budget allows so many rows of such a length."""
        slots, capacity = self._size(rows, length)
        return slots * capacity <= self.cells()

    def cells(self) -> int:
        """Return how many positions the budget is worth."""
        each = self.pool.bytes_per_position()
        return self.budget // each if each else 1 << 40

    def reserve(self, rows: int, length: int) -> None:
        """Make the pool large enough; raises what the device raises when it has no memory."""
        if rows > self.pool.slots or length > self.pool.capacity:
            self.replica.resize(*self._size(rows, length))

    def add(self, row: Row) -> None:
        """Give a row the next free slot."""
        self._rows.append(row)

    def begin_decoding(self, row: Row) -> None:
        """Move a row among those that are decoded."""
        at, target = self.number(row), self._decoding
        if at != target:
            other = self._rows[target]
            self.replica.swap(at, target, max(row.cached, other.cached))
            self._rows[at], self._rows[target] = other, row
        self._decoding += 1

    def remove(self, row: Row) -> None:
        """Free a row's slot, and close the gap."""
        hole = self.number(row)
        if hole < self._decoding:
            self._decoding -= 1
            self._move(self._decoding, hole)
            hole = self._decoding
        self._move(len(self._rows) - 1, hole)
        self._rows.pop()

    def use(self) -> float:
        """Return the share of the budget that the tokens of the rows take."""
        cells = self.cells()
        return min(1.0, sum(row.cached for row in self._rows) / cells) if cells else 0.0

    def shrink_budget(self) -> None:
        """Take no more memory than now: the device has no more."""
        self.budget = self.pool.slots * self.pool.capacity * self.pool.bytes_per_position()

    def _move(self, source: int, target: int) -> None:
        if source != target:
            moved = self._rows[source]
            self.replica.copy(source, target, moved.cached)
            self._rows[target] = moved

    def _size(self, rows: int, length: int) -> tuple[int, int]:
        slots = max(self.pool.slots, _power(rows))
        capacity = max(self.pool.capacity, _power(max(length, SMALLEST_CAPACITY)))
        if slots * capacity <= self.cells():
            return slots, capacity
        # Doubling is for speed; without the memory for it, what is needed is enough.
        return max(rows, 1), max(length, SMALLEST_CAPACITY)


def _power(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
