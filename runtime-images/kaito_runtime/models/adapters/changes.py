"""What an adapter changes, module by module, relative to the base and at strength 1.

Every kind that peft makes is a sum of five terms of a module's output. With x the input, y the output of
the base, b its bias and f what the module does with a weight (LoRA: Hu et al. 2021, arXiv:2106.09685;
DoRA: Liu et al. 2024, arXiv:2402.09353, equation 5):

    (x down^T) up + (y - b) gain + shift + f(x, weight)

An adapter's strength multiplies all of it: 0 is the base, 1 what was trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kaito_runtime.models.adapters import initial, refusals
from kaito_runtime.models.adapters.base import Base, Kind, is_quantised
from kaito_runtime.models.adapters.reading import TOKENS, SavedAdapter

_LINEAR_FACTORS = ("lora_A.weight", "lora_B.weight")
_EMBEDDING_FACTORS = ("lora_embedding_A", "lora_embedding_B")
_ROUNDING = 1e-6
"""Of a norm over thousands of weights in float32."""
_OTHER_FACTORS = frozenset((TOKENS, "lora_magnitude_vector", "lora_diag", "lora_B.bias"))


@dataclass(slots=True)
class Change:
    """The terms of one module, float32; None where the adapter has no such term."""

    down: Tensor | None = None
    """[rank, inputs]; of an embedding [rank, rows]."""
    up: Tensor | None = None
    """[rank, outputs], scale included."""
    gain: Tensor | None = None
    """[outputs]: what the output without its bias grows by."""
    shift: Tensor | None = None
    """[outputs]"""
    weight: Tensor | None = None
    """The difference to the base's weight, [outputs, inputs] or [rows, columns]; of a normalisation its
    own new weight, [columns]."""

    def is_zero(self) -> bool:
        """Whether nothing is added to any output; a gain is a quotient, and 1 within its rounding."""
        is_gain = self.gain is not None and float(self.gain.abs().max()) > _ROUNDING
        added = (self.up, self.shift, self.weight)
        return not is_gain and not any(bool(each.any()) for each in added if each is not None)

    def add_product(self, down: Tensor, up: Tensor) -> None:
        """Add another product of two matrices."""
        self.down = down if self.down is None else torch.cat([self.down, down])
        self.up = up if self.up is None else torch.cat([self.up, up])

    def add_shift(self, shift: Tensor) -> None:
        """Add another shift."""
        self.shift = shift if self.shift is None else self.shift + shift


def changes_of(model: nn.Module, saved: SavedAdapter) -> dict[str, Change]:
    """Return the changes by the names of the model's modules.

    Raises AdapterInvalid, with the true reason, for an adapter that can't be served exactly on this model.
    """
    reader = _Reader(Base(model), saved)
    reader.require_complete()
    for name, tensors in saved.modules.items():
        if TOKENS in tensors.factors:
            reader.add_tokens(name, tensors.factors[TOKENS])
        if tensors.factors.keys() - {TOKENS}:
            reader.add_factors(name, tensors.factors)
        for parameter, tensor in tensors.parameters.items():
            reader.add_parameter(name, parameter, tensor)
    return reader.changes


@dataclass(slots=True)
class _Reader:
    """Holds a saved adapter against the base."""

    base: Base
    saved: SavedAdapter
    changes: dict[str, Change] = field(default_factory=dict)

    def require_complete(self) -> None:
        """Compare the modules that have tensors with those of the base and of the configuration."""
        adapter, config, modules = self.saved.name, self.saved.config, self.saved.modules
        if unknown := sorted(modules.keys() - self.base.modules.keys()):
            raise refusals.fits_no_layer(adapter, unknown)
        found = {name for name, tensors in modules.items() if tensors.factors.keys() - {TOKENS}}
        wanted = {name for name in self.base.modules if name and config.targets(name)}
        if missing := sorted(wanted - found):
            what = f"the tensors of {refusals.listed(missing)}, which `target_modules` names"
            raise refusals.lacks(adapter, what)
        if config.ensure_weight_tying:  # peft gives the tied ones the same matrices
            wanted |= {each for name in wanted for each in self.base.tied_to(name)}
        if extra := sorted(found - wanted):
            what = f"tensors of {refusals.listed(extra)}, which `target_modules` does not name"
            raise refusals.unexpected(adapter, what)

    # Products of two matrices

    def add_factors(self, name: str, factors: Mapping[str, Tensor]) -> None:
        """Add the LoRA or DoRA of a module."""
        module, config = self._module(name), self.saved.config
        down, up = self._product(name, module, factors)
        scale = config.scale(name)
        up = up * scale
        if config.taken_from_base and self.base.kind(name) is Kind.LINEAR:
            taken = self._taken_from_base(name, module, scale)
            down, up = torch.cat([down, taken[0]]), torch.cat([up, -taken[1]])
        change = self._change(name)
        if config.use_dora:
            change.gain = self._dora_gain(name, factors, down, up)
            up = up * (1 + change.gain)
        change.add_product(down, up * self.base.embed_scale(name))
        if (bias := factors.get("lora_B.bias")) is not None:
            self._require_shape(name, "lora_B.bias", bias, (self.base.sizes(name)[1],))
            change.add_shift(bias.float().to(up.device) * scale)

    def _product(
        self, name: str, module: Any, factors: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return A, [rank, inputs], and B transposed, [rank, outputs], not scaled."""
        adapter, config, kind = self.saved.name, self.saved.config, self.base.kind(name)
        if kind is Kind.NORM:
            raise refusals.unsupported_layer(adapter, name, type(module).__name__)
        of_a, of_b = _EMBEDDING_FACTORS if kind is Kind.EMBEDDING else _LINEAR_FACTORS
        for each in (of_a, of_b):
            if each not in factors:
                raise refusals.lacks(adapter, f'{each} of the {kind} "{name}"')
        if unknown := sorted(factors.keys() - {of_a, of_b} - _OTHER_FACTORS):
            raise refusals.unexpected(adapter, f'{unknown[0]} of the {kind} "{name}"')
        rank, (inputs, outputs) = config.rank(name), self.base.sizes(name)
        a, b = factors[of_a].float(), factors[of_b].float()
        if config.use_bdlora is not None:
            a, b = config.use_bdlora.dense(name, a, b)
        self._require_shape(name, of_a, a, (rank, inputs))
        self._require_shape(name, of_b, b, (outputs, rank))
        if config.kasa_config is not None:
            a = a * self._vector(name, "lora_diag", factors, rank)[:, None]
        device = module.weight.device
        return a.to(device), b.T.contiguous().to(device)

    def _taken_from_base(self, name: str, module: nn.Module, scale: float) -> tuple[Tensor, Tensor]:
        adapter, config = self.saved.name, self.saved.config
        init = config.taken_from_base
        if is_quantised(module):
            why = "a quantised base does not have it any more; serve the base unquantised"
            raise refusals.base_was_changed(adapter, name, init, why)
        if others := self.base.tied_to(name) - {name}:
            why = (
                f'so out of "{min(others)}", which shares them; tune with `init_lora_weights: true`'
            )
            raise refusals.base_was_changed(adapter, name, init, why)
        return initial.taken(init, self.base.weight(name), config.rank(name), scale)

    def _dora_gain(
        self, name: str, factors: Mapping[str, Tensor], down: Tensor, up: Tensor
    ) -> Tensor:
        """Return magnitude / norm - 1, [outputs]; the norm is over all that leads to an output."""
        outputs = self.base.sizes(name)[1]
        magnitude = self._vector(name, "lora_magnitude_vector", factors, outputs).to(up.device)
        weight = self.base.weight(name)
        weight = weight.T if self.base.kind(name) is Kind.EMBEDDING else weight
        norm: Tensor = torch.linalg.vector_norm(weight + up.T @ down, dim=1)
        return magnitude / norm - 1

    def _vector(self, name: str, key: str, factors: Mapping[str, Tensor], length: int) -> Tensor:
        if key not in factors:
            raise refusals.lacks(self.saved.name, f'{key} of "{name}"')
        self._require_shape(name, key, factors[key], (length,))
        return factors[key].float()

    # Whole parameters

    def add_tokens(self, name: str, rows: Tensor) -> None:
        """Add rows of an embedding that were trained alone: a product with one column for each."""
        self._module(name)
        indices, weight = self._token_indices(name), self.base.weight(name)
        count, width = weight.shape
        self._require_shape(name, TOKENS, rows, (len(indices), width))
        if max(indices) >= count:
            raise refusals.other_vocabulary(self.saved.name, name, max(indices) + 1, count)
        change = rows.float().to(weight.device) - weight[indices]
        one_hot = torch.zeros(len(indices), count, device=weight.device)
        one_hot[range(len(indices)), indices] = 1
        for each in self._sharing(name):
            if self.base.kind(each) is Kind.EMBEDDING:
                self._change(each).add_product(one_hot, change * self.base.embed_scale(each))
            else:
                self._change(each).add_product(change, one_hot)

    def _token_indices(self, name: str) -> list[int]:
        found = self.saved.config.trainable_token_indices
        if isinstance(found, Mapping):
            named = (each for key, each in found.items() if f".{name}".endswith(f".{key}"))
            found = next(named, ())
        if not found:
            what = f'rows of "{name}", which `trainable_token_indices` does not name'
            raise refusals.unexpected(self.saved.name, what)
        return list(found)

    def add_parameter(self, name: str, parameter: str, saved: Tensor) -> None:
        """Add a parameter that was trained, or only saved, as a whole."""
        if not self.base.has(name, parameter):
            raise refusals.fits_no_layer(self.saved.name, [f"{name}.{parameter}"])
        before = self.base.parameter(name, parameter)
        if len(saved.shape) == 2 and saved.shape[1:] == before.shape[1:]:
            found, wanted = int(saved.shape[0]), int(before.shape[0])
            if found != wanted:
                raise refusals.other_vocabulary(self.saved.name, name, found, wanted)
        self._require_shape(name, parameter, saved, tuple(before.shape))
        saved = saved.to(before.device)
        if self.base.is_same(name, parameter, saved):
            return
        self._module(name)
        if parameter == "weight":
            for each in self._sharing(name):
                self._add_weight(each, saved)
        elif parameter == "bias":
            self._change(name).add_shift(saved.float() - before)
        else:
            kind = type(self.base.modules[name]).__name__
            raise refusals.unsupported_layer(self.saved.name, name, kind)

    def _add_weight(self, name: str, saved: Tensor) -> None:
        module, change = self._module(name), self._change(name)
        if self.base.kind(name) is Kind.NORM:
            change.weight = saved.to(module.weight.dtype)
            return
        difference = saved.float() - self.base.parameter(name, "weight")
        change.weight = self.base.as_multiplied(name, difference) * self.base.embed_scale(name)

    def _sharing(self, name: str) -> list[str]:
        """Return where a saved weight lands: peft writes it into the base, and tied modules share it.

        One of `modules_to_save` stands alone, and so does one that has a weight of its own in the file.
        """
        if self.saved.config.saves(name):
            return [name]
        return [name, *sorted(self.base.tied_to(name) - self.saved.with_own_weight - {name})]

    def _module(self, name: str) -> Any:
        if self.base.kind(name) is None:
            kind = type(self.base.modules[name]).__name__
            raise refusals.unsupported_layer(self.saved.name, name, kind)
        return self.base.modules[name]

    def _change(self, name: str) -> Change:
        return self.changes.setdefault(name, Change())

    def _require_shape(self, name: str, what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            what = f'{what} of "{name}"'
            raise refusals.other_shape(self.saved.name, what, tensor.shape, shape)
