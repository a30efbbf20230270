"""What one pod loads onto the GPUs that it asks for: the one place that says how much, and on how many.

The check of a size, the sizes that messages name, the pod's request of GPUs and the plan of vLLM all come from here.
Each GPU has terms of its own, in bytes: the runtime puts about the same share of the layers on each, and what is
computed needs room on every one of them. docs/sizes.md has the terms in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from kaito_hooks.kube.quantities import GIB, gib
from kaito_hooks.presets import InstanceType, Memory, Preset, bits_per_weight

LEAST_CONTEXT = 2048
"""Tokens; a size that has no room for the keys and values of so many is refused."""
TUNED_TOKENS = 2048
"""Of the row whose activations are counted, recomputed layer by layer (`gradient_checkpointing`)."""
STORED_BYTES = 2
"""Of each value between two layers, which is kept for the way back."""
LAYER_BYTES = 34
"""Of the same within the layer that is computed again (Korthikanti et al., arXiv:2205.05198, section 4.1)."""
WORK_BYTES = 3 * GIB // 4
"""On each GPU of a server: the CUDA context with its libraries, and what a chunk of a prompt is computed in."""


class Use(Enum):
    """What a model is loaded for."""

    INFERENCE = "inference"
    LORA = "lora"
    QLORA = "qlora"

    @property
    def words(self) -> str:
        """As in "needs 9 GiB for inference"."""
        return self.value if self is Use.INFERENCE else f"{self.value} tuning"


@dataclass(frozen=True, slots=True)
class Term:
    """A part of what a GPU holds."""

    bytes: int
    words: str


@dataclass(frozen=True, slots=True)
class PodMemory:
    """What a pod loads onto each of the GPUs that it asks for."""

    gpus: int
    terms: Sequence[Term]

    @property
    def per_gpu(self) -> int:
        """Bytes that each GPU must have."""
        return sum(term.bytes for term in self.terms)

    def fits(self, size: InstanceType) -> bool:
        """Whether the GPUs of a size hold it."""
        return size.gpus >= self.gpus and size.usable_per_gpu >= self.per_gpu

    def describe(self) -> str:
        """As in "9.1 GiB on each of 2 GPUs (7.1 GiB of weights, 2 GiB to compute with)"."""
        where = "1 GPU" if self.gpus == 1 else f"each of {self.gpus} GPUs"
        terms = ", ".join(
            f"{gib(term.bytes)} {term.words}" for term in self.terms if term.bytes >= GIB // 20
        )
        return f"{_at_least(self.per_gpu)} on {where} ({terms})"


def available(size: InstanceType) -> str:
    """As in "1 T4 GPU with 16 GiB, of which 14.5 GiB can be used"."""
    usable = size.usable_per_gpu * 10 // GIB
    return f"{size.describe()}, of which {gib(usable * GIB // 10)} can be used"


def _at_least(bytes_: int) -> str:
    """Rounded up, as what there is is rounded down: no message says that 14.6 GiB don't hold 14.6."""
    return gib(-(-bytes_ * 10 // GIB) * GIB // 10)


class Need(Protocol):
    """What a use of a preset needs, on any size."""

    @property
    def words(self) -> str:
        """What it is for."""

    def on(self, size: InstanceType) -> PodMemory:
        """What a pod loads on a size: on as few GPUs as hold it, or as it would be where none do."""

    def alternative(self, size: InstanceType) -> str:
        """What else would fit the size, in words that follow a remedy; empty where nothing would."""


@dataclass(frozen=True, slots=True)
class PresetNeed:
    """What our trainer and the transformers engine load."""

    preset: Preset
    use: Use

    @property
    def words(self) -> str:
        """What it is for."""
        return self.use.words

    def on(self, size: InstanceType) -> PodMemory:
        """A tuning has all GPUs of its node; a server those of the preset, and more where only more suffice."""
        if self.use is not Use.INFERENCE:
            return self.spread(size.gpus)
        fewest = min(self.preset.gpus, size.gpus)
        most = size.gpus if self.preset.spreads else fewest
        return fewest_that_fit([self.spread(gpus) for gpus in range(fewest, most + 1)], size)

    def alternative(self, size: InstanceType) -> str:
        """QLoRA in the place of LoRA."""
        if self.use is not Use.LORA:
            return ""
        quantised = PresetNeed(self.preset, Use.QLORA).on(size)
        if not quantised.fits(size):
            return ""
        return f", or `tuning.method` 'qlora', which needs {quantised.describe()}"

    def spread(self, gpus: int) -> PodMemory:
        """What each of so many GPUs holds."""
        weights = Term(self._weights(gpus), "of weights")
        rest = self._serving(gpus, weights) if self.use is Use.INFERENCE else self._tuning(gpus)
        return PodMemory(gpus, with_at_least(self._at_least(), gpus, [weights, *rest]))

    def _weights(self, gpus: int) -> int:
        """Whole layers are shared out, so one GPU has up to 1.25 layers more than its share: accelerate's
        `get_balanced_memory`, which the runtime asks.
        """
        whole = self.preset.quantised_bytes
        if self.use is not Use.QLORA:
            whole = self.preset.parameters * bits_per_weight(self.preset.arguments) // 8
        if gpus == 1 or not self.preset.network:
            return -(-whole // gpus)
        return -(-whole // gpus) + whole * 5 // (4 * self.preset.network.layers)

    def _serving(self, gpus: int, weights: Term) -> list[Term]:
        """Of several GPUs the runtime fills nine tenths with weights at most (kaito_runtime/models/gpus.py)."""
        network = self.preset.network
        work = WORK_BYTES if gpus == 1 else max(WORK_BYTES, -(-weights.bytes // 9))
        tokens, cache = 0, 0
        if network:
            tokens = min(LEAST_CONTEXT, network.context)
            bits = bits_per_weight(self.preset.arguments)
            cache = -(-tokens * network.cache_bytes(1, bits) // gpus)
        return [Term(cache, keys_and_values(tokens)), Term(work, "to compute with")]

    def _tuning(self, gpus: int) -> list[Term]:
        network, activations = self.preset.network, 0
        if network:
            kept = -(-STORED_BYTES * network.layers // gpus)
            activations = TUNED_TOKENS * network.hidden_size * (kept + LAYER_BYTES)
        return [
            Term(activations, f"of activations for {TUNED_TOKENS} tokens"),
            Term(self.preset.tuning_workspace, "to compute with"),
        ]

    def _at_least(self) -> Memory:
        if self.use is Use.INFERENCE:
            return self.preset.inference
        least = self.preset.lora if self.use is Use.LORA else None
        return least or Memory(0)


def fewest_that_fit(ways: Sequence[PodMemory], size: InstanceType) -> PodMemory:
    """The first of several ways that fits a size; the last one where none does."""
    return next((way for way in ways if way.fits(size)), ways[-1])


def with_at_least(least: Memory, gpus: int, terms: Sequence[Term]) -> list[Term]:
    """The terms, and what the preset asks for above them."""
    each = max(-(-least.total // gpus), least.per_gpu)
    return [
        *terms,
        Term(max(0, each - sum(t.bytes for t in terms)), "more that the preset asks for"),
    ]


def keys_and_values(tokens: int) -> str:
    """The words of their term."""
    return f"of keys and values for {tokens} tokens"
