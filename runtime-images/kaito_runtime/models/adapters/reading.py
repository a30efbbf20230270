"""An adapter as peft saved it, read from its two files: which tensor changes what of which module."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kaito_runtime.models.adapters.config import AdapterConfig, read_config
from kaito_runtime.models.adapters.files import WEIGHTS_FILE
from kaito_runtime.models.adapters.refusals import refusal

_PREFIX = "base_model.model."
"""What peft writes before the names of the base's modules."""
_FACTOR = re.compile(
    r"(?P<module>.+)\.(?P<factor>lora_(?:A|B)\.(?:weight|bias)|lora_embedding_(?:A|B)|lora_diag"
    r"|lora_magnitude_vector|token_adapter\.trainable_tokens_delta)(?:\.weight)?"
)
TOKENS = "token_adapter.trainable_tokens_delta"
"""peft's name for rows of an embedding that were trained alone."""
_OF_TRAINING = re.compile(r".+\.lora_(?:monteclora_sampler|velora_embed)(?:\..+)?")
"""Tensors that peft reads while it trains, and not after."""


@dataclass(slots=True)
class ModuleTensors:
    """What an adapter saved for one module."""

    factors: dict[str, Tensor] = field(default_factory=dict)
    """By peft's names, such as `lora_A.weight`."""
    parameters: dict[str, Tensor] = field(default_factory=dict)
    """The module's own parameters as they became: `weight`, `bias`."""


@dataclass(frozen=True, slots=True)
class SavedAdapter:
    """An adapter's configuration and tensors."""

    name: str
    config: AdapterConfig
    modules: Mapping[str, ModuleTensors]
    """By the names of the base's modules."""

    @property
    def with_own_weight(self) -> set[str]:
        """Modules whose weight, or rows of it, the file has."""
        return {
            name
            for name, tensors in self.modules.items()
            if "weight" in tensors.parameters or TOKENS in tensors.factors
        }


def read_adapter(name: str, folder: Path) -> SavedAdapter:
    """Return the adapter of a folder; AdapterInvalid for files that can't be used."""
    config = read_config(name, folder)
    modules: dict[str, ModuleTensors] = defaultdict(ModuleTensors)
    for key, tensor in _tensors(name, folder):
        if not key.startswith(_PREFIX):
            raise refusal(name, f'its tensor "{key}" does not begin with "{_PREFIX}"')
        inner = key.removeprefix(_PREFIX)
        if _OF_TRAINING.fullmatch(inner):
            continue
        if match := _FACTOR.fullmatch(inner):
            modules[match["module"]].factors[match["factor"]] = tensor
            continue
        module, _, parameter = inner.rpartition(".")
        modules[module.removesuffix(".base_layer")].parameters[parameter] = tensor
    return SavedAdapter(name, config, dict(modules))


def _tensors(name: str, folder: Path) -> Iterator[tuple[str, Tensor]]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise refusal(
            name,
            f"it has no {WEIGHTS_FILE}; "
            + (
                "adapter_model.bin is a pickle, which is code: save it with safe_serialization=True"
                if pickled
                else "its image must hold it below /data"
            ),
        )
    try:
        with safe_open(path, framework="pt") as file:
            for key in sorted(file.keys()):  # in one order in all processes
                tensor: Tensor = file.get_tensor(key)
                if not bool(torch.isfinite(tensor.float()).all()):
                    raise refusal(name, f'its tensor "{key}" has values that are not finite')
                yield key, tensor
    except SafetensorError as error:
        raise refusal(
            name, f"its {WEIGHTS_FILE} is damaged ({error}); pull or push it again"
        ) from None
