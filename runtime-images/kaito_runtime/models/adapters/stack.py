"""The changes of one module by all adapters, side by side, added to its output by a forward hook.

The matrices of all adapters lie one after another, so that a batch costs two products whatever it mixes
(as S-LoRA and Punica do: arXiv:2311.03285, arXiv:2310.18547): the first for all columns, times the factors
of each row, the second back. A row's factors of adapters that it does not use are zero.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from kaito_runtime.models.adapters.base import Kind, is_quantised, sizes_of
from kaito_runtime.models.adapters.batch import Batch, Product, Terms, Whole
from kaito_runtime.models.adapters.changes import Change
from kaito_runtime.models.adapters.shards import WHOLE, Shard, whole


def stack_of(module: Any, kind: Kind, dtype: torch.dtype, shard: Shard = WHOLE) -> "Stack":
    """Return the empty stack of a module, of which this process has a part.

    `dtype` is what a quantised one computes in.
    """
    stacks = {Kind.LINEAR: LinearStack, Kind.EMBEDDING: EmbeddingStack, Kind.NORM: NormStack}
    return stacks[kind](module, dtype, shard)


class Stack:
    """Holds the changes of all adapters for one module; subclasses know what it does with a weight."""

    def __init__(self, module: Any, dtype: torch.dtype, shard: Shard):
        self.module = module
        self._shard = shard
        self.terms: Terms | None = None
        """What is added in the batch that is computed now; made before it, so that a compiled model stays
        as it is."""
        self._device: torch.device = module.weight.device
        own = dtype if is_quantised(module) else module.weight.dtype
        # In float16 a product may overflow where no row uses it, and 0 times infinity is no number.
        self._dtype = torch.float32 if own is torch.float16 else own
        self._ranks: dict[str, int] = {}
        """Columns of each adapter, in their order."""
        self._down, self._up = self._no_columns()
        self._parts: dict[tuple[tuple[str, int], ...], tuple[Tensor, Tensor]] = {}
        """Views of the two matrices, made when they are first needed."""
        self._gains: dict[str, Tensor] = {}
        self._shifts: dict[str, Tensor] = {}
        self._wholes: dict[str, Tensor] = {}
        self._hook = module.register_forward_hook(self._add, with_kwargs=True)

    def put(self, name: str, change: Change) -> None:
        """Add the change of an adapter."""
        self._parts.clear()
        if change.down is not None and change.up is not None:
            whole_down, whole_up = (
                self._shard.agreed(each.to(self._device, self._dtype))
                for each in (change.down, change.up)
            )
            down = self._as_stored(self._shard.of_inputs(whole_down))
            up = self._shard.of_outputs(whole_up)
            self._down = torch.cat([self._down, down], dim=self._axis)
            self._up = torch.cat([self._up, up])
            self._ranks[name] = int(up.shape[0])
        if change.gain is not None:
            self._gains[name] = self._shard.of_outputs(change.gain).to(self._device)
        if change.shift is not None:
            self._shifts[name] = self._shard.of_outputs(change.shift).to(self._device)
        if change.weight is not None:
            weight = self._shard.of_inputs(change.weight)
            if self._shard.outputs is not None:
                weight = weight[self._shard.outputs]
            self._wholes[name] = weight.to(self._device, self._dtype)

    def drop(self, name: str) -> None:
        """Remove the change of an adapter."""
        self._parts.clear()
        if name in self._ranks:
            part = self._part([name])
            self._down = _without(self._down, part, self._axis)
            self._up = _without(self._up, part, 0)
            del self._ranks[name]
        for each in (self._gains, self._shifts, self._wholes):
            each.pop(name, None)
        if self.is_empty:
            self._hook.remove()

    def has(self, name: str) -> bool:
        """Whether an adapter changes the module."""
        return any(name in each for each in (self._ranks, self._gains, self._shifts, self._wholes))

    @property
    def bytes(self) -> int:
        """The memory of all terms."""
        each = [*self._gains.values(), *self._shifts.values(), *self._wholes.values()]
        return sum(term.nbytes for term in (self._down, self._up, *each))

    @property
    def is_empty(self) -> bool:
        """Whether no adapter changes the module."""
        return not (self._ranks or self._gains or self._shifts or self._wholes)

    # What a subclass knows

    _axis = 0
    """Along which the first matrices lie one after another."""

    def _no_columns(self) -> tuple[Tensor, Tensor]:
        """Return the two matrices of no adapter, [columns, inputs] and [columns, outputs]."""
        inputs, outputs = (
            size if part is None else part.stop - part.start
            for size, part in zip(
                sizes_of(self.module), (self._shard.inputs, self._shard.outputs), strict=True
            )
        )
        made = torch.empty(0, inputs + outputs, dtype=self._dtype, device=self._device)
        return made[:, :inputs], made[:, inputs:]

    @staticmethod
    def _as_stored(down: Tensor) -> Tensor:
        return down

    @staticmethod
    def _applied(inputs: Tensor, weight: Tensor) -> Tensor:
        """Return what the module does with another weight."""
        return linear(inputs, weight)

    def _narrowed(self, part: slice) -> tuple[Tensor, Tensor]:
        return self._down[part], self._up[part]

    # The forward pass

    def _add(
        self, _module: Any, arguments: Sequence[Any], named: dict[str, Any], output: Tensor
    ) -> Tensor | None:
        if self.terms is None:
            return None
        inputs: Tensor = arguments[0] if arguments else next(iter(named.values()))
        return self._added(self.terms, inputs, output)

    def _added(self, terms: Terms, inputs: Tensor, output: Tensor) -> Tensor:
        """Return the output, [rows, ..., outputs], with the terms added."""
        rows = terms.rows
        if len(output) % rows:
            if len(output) > 1:
                raise RuntimeError(f"a layer got {len(output)} rows in a batch of {rows}")
            inputs, output = inputs.expand(rows, *inputs.shape[1:]), torch.cat([output] * rows)
        out = output.reshape(rows, -1, output.shape[-1])
        inputs = self._by_row(inputs, rows)
        if terms.gain is not None:
            out.addcmul_(out, terms.gain)
        if terms.shift is not None:
            out.add_(terms.shift)
        if terms.product is not None:
            inner = self._shard.summed(self._applied(inputs, terms.product.down))
            inner = inner.mul_(terms.product.factors)
            if terms.product.up.dtype == out.dtype:
                flat = inner.view(-1, inner.shape[-1])
                out.view(-1, out.shape[-1]).addmm_(flat, terms.product.up)
            else:
                out.add_(inner @ terms.product.up)
        for each in terms.wholes:
            used = inputs if each.rows is None else inputs.index_select(0, each.rows)
            change = self._whole(used, each).mul_(each.factors).to(out.dtype)
            if each.rows is None:
                out.add_(change)
            else:
                out.index_add_(0, each.rows, change)
        return out.view(output.shape)

    def _by_row(self, inputs: Tensor, rows: int) -> Tensor:
        """Return the inputs as [rows, tokens, features], on the stack's device and in its type.

        Flattened to [rows x tokens, features], or with several beams a row, they lie row after row.
        """
        return inputs.reshape(rows, -1, inputs.shape[-1]).to(self._device, self._dtype)

    def _whole(self, inputs: Tensor, whole: Whole) -> Tensor:
        return self._shard.summed(self._applied(inputs, whole.weight))

    # What a batch needs

    def terms_of(self, batch: Batch) -> Terms | None:
        """Return what the module adds in a batch; None where no row changes it."""
        product = self._product(batch)
        gain, shift = self._sum(batch, self._gains), self._sum(batch, self._shifts)
        if gain is not None and getattr(self.module, "bias", None) is not None:
            of_bias = gain * self._shard.of_outputs(whole(self.module.bias)).float()
            shift = -of_bias if shift is None else shift - of_bias
        wholes = tuple(
            self._whole_of(batch, name, weight)
            for name, weight in self._wholes.items()
            if name in batch.used
        )
        if product is None and gain is None and shift is None and not wholes:
            return None
        gain, shift = (None if each is None else each.to(self._dtype) for each in (gain, shift))
        return Terms(batch.rows, product, gain, shift, wholes)

    def _product(self, batch: Batch) -> Product | None:
        used = [name for name in self._ranks if name in batch.used]
        if not used:
            return None
        # From the first column that is used to the last: one part, and no copy.
        names = list(self._ranks)
        names = names[names.index(used[0]) : names.index(used[-1]) + 1]
        ranks = [self._ranks[name] for name in names]

        def factors() -> Tensor:
            each = batch.factors(names).repeat_interleave(
                torch.tensor(ranks), dim=1, output_size=sum(ranks)
            )
            return self._moved(each[:, None])

        columns = tuple(zip(names, ranks, strict=True))
        if columns not in self._parts:
            self._parts[columns] = self._narrowed(self._part(names))
        down, up = self._parts[columns]
        return Product(down, batch.once((columns, self._device, self._dtype), factors), up)

    def _part(self, names: Sequence[str]) -> slice:
        """Return where the columns of adapters that lie one after another are."""
        before = list(self._ranks)[: list(self._ranks).index(names[0])]
        start = sum(self._ranks[name] for name in before)
        return slice(start, start + sum(self._ranks[name] for name in names))

    def _sum(self, batch: Batch, each: dict[str, Tensor]) -> Tensor | None:
        """Return the sum of vectors by the factors of each row, [rows, 1, outputs] float32."""
        used = [name for name in each if name in batch.used]
        if not used:
            return None
        factors = batch.factors(used).to(self._device, non_blocking=True)
        return (factors @ torch.stack([each[name] for name in used]))[:, None]

    def _whole_of(self, batch: Batch, name: str, weight: Tensor) -> Whole:
        rows = torch.tensor(batch.rows_of(name))
        factors = self._moved(batch.factors([name])[rows, :, None])
        is_all = len(rows) == batch.rows
        return Whole(None if is_all else rows.to(self._device, non_blocking=True), factors, weight)

    def _moved(self, factors: Tensor) -> Tensor:
        return factors.to(self._device, self._dtype, non_blocking=True)


class LinearStack(Stack):
    """The changes of a linear layer."""


class EmbeddingStack(Stack):
    """The changes of an embedding: its products look rows up where a linear layer multiplies."""

    _axis = 1

    def _no_columns(self) -> tuple[Tensor, Tensor]:
        down, up = super()._no_columns()
        return down.T, up

    @staticmethod
    def _as_stored(down: Tensor) -> Tensor:
        return down.T.contiguous()

    @staticmethod
    def _applied(inputs: Tensor, weight: Tensor) -> Tensor:
        return embedding(inputs, weight)

    def _narrowed(self, part: slice) -> tuple[Tensor, Tensor]:
        return self._down[:, part], self._up[part]

    def changed_rows(self, name: str, count: int) -> list[int]:
        """Return up to so many rows that an adapter changes, those that it changes most."""
        sizes = torch.zeros(self.module.num_embeddings, device=self._device)
        if name in self._ranks:
            sizes += self._down[:, self._part([name])].abs().sum(1)
        if name in self._wholes:
            sizes += self._wholes[name].abs().sum(1)
        rows: list[int] = sizes.argsort(descending=True)[:count].tolist()
        return [row for row in rows if sizes[row] > 0]

    def _by_row(self, inputs: Tensor, rows: int) -> Tensor:
        return inputs.reshape(rows, -1).to(self._device)


class NormStack(Stack):
    """The changes of a normalisation: it computes anew with the other weight."""

    def _no_columns(self) -> tuple[Tensor, Tensor]:
        none = torch.empty(0)
        return none, none

    def _whole(self, inputs: Tensor, whole: Whole) -> Tensor:
        twin = copy.copy(self.module)
        twin._parameters = {**self.module._parameters, "weight": nn.Parameter(whole.weight, False)}
        forward: Any = type(self.module).forward
        change: Tensor = forward(twin, inputs) - forward(self.module, inputs)
        return change


def _without(joined: Tensor, part: slice, axis: int) -> Tensor:
    """Return a matrix without a part of it."""
    after = joined.shape[axis] - part.stop
    kept = [joined.narrow(axis, 0, part.start), joined.narrow(axis, part.stop, after)]
    return torch.cat(kept, dim=axis)
