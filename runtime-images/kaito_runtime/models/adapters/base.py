"""The base's modules as an adapter changes them: their kinds, sizes and true weights."""

from collections import defaultdict
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kaito_runtime.models.adapters.shards import whole

_IDENTITY_ROWS = 1024
"""Rows of the identity that are multiplied at once."""


class Kind(StrEnum):
    """How a module's output depends on its parameters."""

    LINEAR = "linear layer"
    EMBEDDING = "embedding"
    NORM = "normalisation"


class Base:
    """The modules of a model, by their names."""

    def __init__(self, model: nn.Module):
        self.modules: dict[str, Any] = dict(model.named_modules())
        self._sharing: dict[int, set[str]] = defaultdict(set)
        """Names by the identity of the weight: tied modules hold the same one."""
        for name, module in self.modules.items():
            if isinstance(getattr(module, "weight", None), nn.Parameter):
                self._sharing[id(module.weight)].add(name)

    def kind(self, name: str) -> Kind | None:
        """Return the kind of a module, None for one whose change is not built here."""
        if ".experts." in f".{name}.":  # they see some of the tokens of some of the rows
            return None
        return kind_of(self.modules[name])

    def sizes(self, name: str) -> tuple[int, int]:
        """Return inputs and outputs of a linear layer, rows and columns of an embedding."""
        return sizes_of(self.modules[name])

    def tied_to(self, name: str) -> set[str]:
        """Return all modules that hold the same weight, itself included."""
        return self._sharing.get(id(getattr(self.modules[name], "weight", None)), {name})

    def weight(self, name: str) -> Tensor:
        """Return the weight that a module multiplies with, [outputs, inputs] or [rows, columns] float32."""
        return self.as_multiplied(name, weight_of(self.modules[name]))

    def has(self, name: str, parameter: str) -> bool:
        """Whether a module has a parameter, or a buffer."""
        return isinstance(getattr(self.modules[name], parameter, None), Tensor)

    def parameter(self, name: str, parameter: str) -> Tensor:
        """Return a parameter as a file holds it, float32."""
        module = self.modules[name]
        if parameter == "weight":
            return weight_of(module)
        found: Tensor = getattr(module, parameter)
        return whole(found.detach()).float()

    def as_multiplied(self, name: str, weight: Tensor) -> Tensor:
        """Return a weight as [outputs, inputs], where the module stores it the other way round (GPT-2)."""
        return weight.T.contiguous() if isinstance(self.modules[name], Conv1D) else weight

    def embed_scale(self, name: str) -> float:
        """Return what an embedding multiplies its rows by (Gemma), else 1."""
        module = self.modules[name]
        scale = torch.as_tensor(getattr(module, "embed_scale", 1.0))
        return float(scale.to(module.weight.dtype) if isinstance(module, nn.Embedding) else scale)

    def is_same(self, name: str, parameter: str, saved: Tensor) -> bool:
        """Whether a saved parameter is the base's own, in the coarser of their two number types."""
        own = whole(getattr(self.modules[name], parameter).detach())
        if torch.equal(self.parameter(name, parameter).to(saved.dtype), saved):
            return True
        return own.is_floating_point() and torch.equal(saved.to(own.dtype), own)


def kind_of(module: Any) -> Kind | None:
    """Return the kind of a module, None for one whose change is not built here."""
    if isinstance(module, nn.Linear | Conv1D):
        return Kind.LINEAR
    if isinstance(module, nn.Embedding):
        is_plain = type(module) is nn.Embedding or hasattr(module, "embed_scale")
        return Kind.EMBEDDING if is_plain and module.max_norm is None else None
    weight = getattr(module, "weight", None)
    is_vector = isinstance(weight, nn.Parameter) and weight.dim() == 1
    return Kind.NORM if is_vector and type(module).__name__.endswith("Norm") else None


def sizes_of(module: Any) -> tuple[int, int]:
    """Return inputs and outputs of a linear layer, rows and columns of an embedding."""
    if isinstance(module, nn.Linear):  # a quantised weight has another shape
        return module.in_features, module.out_features
    first, second = module.weight.shape
    return int(first), int(second)


def is_quantised(module: Any) -> bool:
    """Whether bitsandbytes holds the module's weight in 4 or 8 bits."""
    return type(module.weight).__name__ in ("Params4bit", "Int8Params")


def is_in_8_bits(module: Any) -> bool:
    """Whether bitsandbytes holds the module's weight in 8 bits (LLM.int8)."""
    return type(getattr(module, "weight", None)).__name__ == "Int8Params"


def weight_of(module: Any) -> Tensor:
    """Return a module's weight as a file holds it, float32, without the quantisation."""
    weight: Any = module.weight
    kind = type(weight).__name__
    if kind == "Params4bit":
        return _four_bit(module)
    if kind == "Int8Params":
        import bitsandbytes

        scales = weight.SCB if weight.SCB is not None else module.state.SCB
        dequantise: Any = bitsandbytes.functional.int8_vectorwise_dequant
        found: Tensor = dequantise(weight.data, scales.to(weight.device))
        return found.float()
    return whole(weight.detach()).float()


def _four_bit(module: Any) -> Tensor:
    import bitsandbytes

    state = module.weight.quant_state
    if not getattr(state, "packing_format_for_cpu", False):
        dequantise: Any = bitsandbytes.functional.dequantize_4bit
        found: Tensor = dequantise(module.weight.data, state)
        return found.float()
    # bitsandbytes packs the weights anew for AVX-512 when a layer first computes. Only the product itself
    # reads them rightly from then on (0.50: its own way back is wrong).
    identity = torch.eye(module.in_features, device=module.weight.device)
    made = torch.cat(
        [type(module).forward(module, part) for part in identity.split(_IDENTITY_ROWS)]
    )
    without_bias = made if module.bias is None else made - module.bias
    return without_bias.T.contiguous()
