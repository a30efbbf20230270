"""The files of an adapter as vLLM reads them: a copy where the strength is not 1, a refusal where it would
not serve what was trained."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from kaito_runtime.models.adapters import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    provenance_of,
)
from kaito_runtime.models.adapters.base import Kind, kind_of
from kaito_runtime.models.adapters.changes import changes_of
from kaito_runtime.models.adapters.config import AdapterConfig, read_config
from kaito_runtime.models.adapters.provenance import Provenance
from kaito_runtime.models.adapters.reading import SavedAdapter, read_adapter
from kaito_runtime.models.adapters.refusals import refusal
from kaito_runtime.models.adapters.verify import compare, match_of_template
from kaito_runtime.models.rendering import Rendering, read_rendering
from kaito_runtime.models.verification import Match, Verification
from kaito_runtime.serving.engine import AdapterInfo

_NOT_APPLIED = {
    "use_dora": "it is DoRA, whose magnitudes",
    "lora_bias": "its matrices have biases, which",
    "modules_to_save": "it holds whole modules (`modules_to_save`), which",
    "trainable_token_indices": "it has trained single tokens, which",
    "use_bdlora": "its matrices are block-diagonal, which",
    "taken_from_base": "its training began by taking a part out of the base's weights, which",
}
"""Attributes of AdapterConfig that are set, and what vLLM does not apply."""


@dataclass(frozen=True, slots=True)
class VllmAdapter:
    """An adapter that vLLM can load."""

    name: str
    folder: Path
    strength: float
    rank: int
    rendering: Rendering
    changes_nothing: bool
    """All that it would add is zero."""
    base: Match
    tokenizer: Match
    template: Match

    def info(self, largest_difference: float) -> AdapterInfo:
        """Return what is known of it, and by how much it was seen to change the log probabilities."""
        verification = Verification(
            self.name,
            self.base,
            self.tokenizer,
            self.template,
            largest_difference,
            self.changes_nothing,
        )
        details = {"rank": self.rank, "rendering": str(self.rendering.form)}
        return AdapterInfo(self.name, self.strength, details, verification)


class AdapterReader:
    """Reads and checks adapters for one base."""

    def __init__(self, weights: Path, tokenizer: Any, trust_remote_code: bool = False):
        self._weights = weights
        self._tokenizer = tokenizer
        self._trust_remote_code = trust_remote_code
        self._copies = tempfile.TemporaryDirectory(prefix="adapters-")

    def read(self, name: str, folder: Path, strength: float) -> VllmAdapter:
        """Return an adapter; raises AdapterInvalid, with the reason, for one that is not served exactly."""
        base, tokenizer = compare(name, folder, self._served)
        saved = read_adapter(name, folder)
        if why := _why_not_applied(saved):
            raise refusal(name, f"{why} vLLM does not apply; serve it with the transformers engine")
        changes_of(self._shapes, saved)  # vLLM passes over tensors that fit no layer
        for module in saved.modules:
            self._require_inner(name, module)
        try:
            rendering = read_rendering(folder)
        except ValueError as error:
            raise refusal(name, str(error)) from None
        return VllmAdapter(
            name,
            folder if strength == 1.0 else self._scaled(folder, strength),
            strength,
            max_rank(saved.config),
            rendering,
            strength == 0.0 or _is_zero(saved),
            base,
            tokenizer,
            match_of_template(folder, rendering, self._tokenizer),
        )

    def close(self) -> None:
        """Remove the copies."""
        self._copies.cleanup()

    @cached_property
    def _served(self) -> Provenance:
        return provenance_of(self._weights, self._tokenizer)

    @cached_property
    def _shapes(self) -> Any:
        """The base without its numbers."""
        from transformers import AutoConfig, AutoModelForCausalLM

        trust = self._trust_remote_code
        config = AutoConfig.from_pretrained(
            self._weights, trust_remote_code=trust, local_files_only=True
        )
        with torch.device("meta"):
            base: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
        base.tie_weights()
        return base

    def _require_inner(self, name: str, module: str) -> None:
        found = self._shapes.get_submodule(module)
        if kind_of(found) is Kind.EMBEDDING or found is self._shapes.get_output_embeddings():
            raise refusal(
                name,
                f'it changes the embedding or the head ("{module}"), which are one in some models and '
                "not in vLLM; serve it with the transformers engine",
            )

    def _scaled(self, folder: Path, strength: float) -> Path:
        """Return a copy whose second matrices are multiplied by the strength."""
        from safetensors.torch import load_file, save_file

        copy = Path(tempfile.mkdtemp(dir=self._copies.name))
        shutil.copyfile(folder / CONFIG_FILE, copy / CONFIG_FILE)
        scaled = {
            key: (tensor.float() * strength).to(tensor.dtype) if "lora_B" in key else tensor
            for key, tensor in load_file(folder / WEIGHTS_FILE).items()
        }
        save_file(scaled, copy / WEIGHTS_FILE)
        return copy


def largest_rank(adapters: Mapping[str, tuple[Path, float]]) -> int:
    """Return the largest rank of some adapters, 0 for none; raises AdapterInvalid."""
    configs = (read_config(name, folder) for name, (folder, _) in adapters.items())
    return max(map(max_rank, configs), default=0)


def max_rank(config: AdapterConfig) -> int:
    """Return the largest rank of an adapter's layers."""
    return max(config.r, *config.rank_pattern.values(), 0)


def _is_zero(saved: SavedAdapter) -> bool:
    factors = (each for tensors in saved.modules.values() for each in tensors.factors.items())
    return not any(bool(tensor.any()) for name, tensor in factors if name.startswith("lora_B"))


def _why_not_applied(saved: SavedAdapter) -> str:
    config = saved.config
    if config.bias != "none":
        return "it has trained the base's biases, which"
    for attribute, why in _NOT_APPLIED.items():
        if getattr(config, attribute):
            return why
    for name, tensors in saved.modules.items():
        if tensors.parameters:
            return f'it holds the whole "{name}" (peft\'s save_embedding_layers), which'
    return ""
