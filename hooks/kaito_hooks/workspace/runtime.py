"""What serves the model: the transformers engine, or vLLM with a share of the GPUs' memory and a context that fit.

vLLM takes its memory at the start, all of it: what is left beside the weights is for keys and values. So it is
computed here, before a node is asked for, whether they have room, and for how many tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_hooks.api import labels
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import (
    InstanceType,
    Network,
    Preset,
    bits_per_weight,
    capability,
)
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Runtime, Workspace
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import Fit, fit
from kaito_hooks.workspace.pod_memory import (
    LEAST_CONTEXT,
    PodMemory,
    PresetNeed,
    Term,
    Use,
    fewest_that_fit,
    keys_and_values,
)

OUTSIDE_BYTES = 3 * GIB // 2
"""On each GPU beside what vLLM counts: CUDA contexts and NCCL's buffers."""
MOST_PERCENT = 95
WORK_BYTES = 2 * GIB
"""On each GPU: activations of one step (8,192 tokens) and CUDA graphs."""
ADAPTER_BYTES = GIB
"""On each GPU: the matrices of an adapter; rank 64 on all linear layers of 14 billion weights is 0.5 GiB."""
BLOCK = 16
"""Tokens that vLLM gives memory to at once."""
BFLOAT16_FROM = (8, 0)
"""Compute capability; vLLM refuses bfloat16 below."""
_TRANSFORMERS = f"Set the annotation `{labels.RUNTIME}` to 'transformers'"


@dataclass(frozen=True, slots=True)
class VllmPlan:
    """How vLLM is started."""

    gpus: int
    """Over which each layer is spread."""
    share: int | None
    """Percent of each GPU's memory; None on a size that is not known here: vLLM's own default."""
    context: int | None
    """Tokens of prompt and answer; None: as many as vLLM finds room for."""
    has_bfloat16: bool = True

    @property
    def processes(self) -> int:
        """How many it has beside the server."""
        return 1 + self.gpus

    def command_line(self) -> list[str]:
        """Flags of the model server."""
        flags = ["--engine", "vllm", "--tensor-parallel-size", str(self.gpus)]
        if self.share is not None:
            flags += ["--gpu-memory-utilization", f"0.{self.share:02d}"]
        if self.context is not None:
            flags += ["--max-model-len", str(self.context)]
        return flags

    def arguments(self, arguments: Mapping[str, str]) -> dict[str, str]:
        """Arguments of the preset that must be others."""
        is_refused = not self.has_bfloat16 and arguments.get("torch_dtype") == "bfloat16"
        return {"torch_dtype": "float16"} if is_refused else {}


def served_by(workspace: Workspace, context: Context) -> tuple[Fit, VllmPlan | None]:
    """The size with the model, and how vLLM serves it; None where the transformers engine does.

    An annotation is obeyed or refused, raising `InvalidObject`. The operator's default is for all that vLLM can
    serve; the rest is served as it always was.
    """
    presets, images = context.presets, context.images
    if workspace.runtime is Runtime.VLLM and workspace.serves:
        return _served_by_vllm(workspace, context)
    found = fit(workspace, presets, images.compute_capabilities)
    if workspace.runtime is None and context.runtime is Runtime.VLLM and workspace.serves:
        try:
            return _served_by_vllm(workspace, context)
        except InvalidObject:
            return found, None
    return found, None


def _served_by_vllm(workspace: Workspace, context: Context) -> tuple[Fit, VllmPlan]:
    _require_possible(workspace, context)
    images, is_tuned = context.images, workspace.tuning is not None
    trains = [images.compute_capabilities] if is_tuned else []

    def need(preset: Preset) -> VllmNeed:
        adapters = 1 if is_tuned else len(workspace.adapters)
        return VllmNeed(preset, _network(preset), is_tuned, adapters)

    found = fit(
        workspace,
        context.presets,
        images.vllm_compute_capabilities,
        *trains,
        server=need,
    )
    return found, need(found.preset).plan(found)


def _require_possible(workspace: Workspace, context: Context) -> None:
    """Raise `InvalidObject` for what vLLM serves on no size."""
    if not context.images.vllm:
        raise _refused(
            "this installation has no image of vLLM: KAITO_VLLM_IMAGE of the Workspace hook names it"
        )
    if workspace.preset.private:
        raise _refused(
            "an image of your own (`preset.accessMode` 'private') is served by its own program"
        )
    preset = context.presets.presets.get(workspace.preset.name)
    if preset is None or preset.private or preset.distributed:
        return  # `fit` says so
    if preset.network is None:
        raise _refused(f"the shape of '{preset.name}' is not known (`network` in presets.yaml)")
    if workspace.adapters and not preset.vllm_adapters:
        raise _refused(f"vLLM serves {preset.name}, and no adapter of it")
    if not workspace.tuning:
        return
    if workspace.tuning.method == "qlora":
        raise _refused(
            "vLLM does not serve a quantised base, which an adapter of `tuning.method` 'qlora' belongs to",
            ", or `tuning.method` to 'lora'",
        )
    if not preset.vllm_adapters:
        raise _refused(f"vLLM serves {preset.name}, and no adapter of it")


def _network(preset: Preset) -> Network:
    if preset.network is None:
        raise _refused(f"the shape of '{preset.name}' is not known (`network` in presets.yaml)")
    return preset.network


@dataclass(frozen=True, slots=True)
class VllmNeed:
    """What vLLM takes of each GPU."""

    preset: Preset
    network: Network
    is_tuned: bool
    adapters: int

    @property
    def words(self) -> str:
        """What it is for."""
        return f"{Use.INFERENCE.words} by vLLM"

    def on(self, size: InstanceType) -> PodMemory:
        """Beside a tuning it has all GPUs of the node; else those of the preset, and more where only more suffice."""
        if self.is_tuned:
            return self._spread(size.gpus, size)
        fewest = min(self.preset.gpus, size.gpus)
        counts = [n for n in range(fewest, size.gpus + 1) if self.network.can_be_spread(n)]
        ways = [self._spread(gpus, size) for gpus in counts or [fewest]]
        return fewest_that_fit(ways, size)

    def alternative(self, size: InstanceType) -> str:
        """The transformers engine, where it fits."""
        if not PresetNeed(self.preset, Use.INFERENCE).on(size).fits(size):
            return ""
        return f", or set the annotation `{labels.RUNTIME}` to 'transformers'"

    def plan(self, found: Fit) -> VllmPlan:
        """How it is started on a size; without a context where the checks are bypassed and there is room for none."""
        size, gpus = found.instance_type, self._spread_over(found.gpus)
        if size is None:
            return VllmPlan(gpus, None, None)
        tokens = self._room(gpus, size)
        context = None
        if tokens >= self._least:
            context = min(self._longest, tokens // BLOCK * BLOCK)
        has_bfloat16 = capability(size.compute_capability) >= BFLOAT16_FROM
        return VllmPlan(gpus, _share(size), context, has_bfloat16)

    def _spread(self, gpus: int, size: InstanceType) -> PodMemory:
        """What it takes of GPUs that a pod asks for, with what it leaves to others on this size."""
        used, outside = self._spread_over(gpus), size.usable_per_gpu - _takes(size)
        cache = Term(self._least * self._token(used), keys_and_values(self._least))
        return PodMemory(
            gpus, [*self._beside_cache(used), cache, Term(outside, "that vLLM does not take")]
        )

    def _spread_over(self, gpus: int) -> int:
        """As many of the GPUs as each layer can be shared out over."""
        return max(n for n in range(1, gpus + 1) if self.network.can_be_spread(n))

    @property
    def _longest(self) -> int:
        """Tokens that it is served with at most.

        An adapter is asked with the positions that it was tuned with. vLLM encodes them by the longest sequence
        that may come, and not by what comes.
        """
        return (self.adapters and self.network.long_positions_from) or self.network.context

    @property
    def _least(self) -> int:
        return min(self._longest, LEAST_CONTEXT)

    def _beside_cache(self, gpus: int) -> list[Term]:
        words = "for the adapter" if self.adapters == 1 else f"for {self.adapters} adapters"
        return [
            Term(self.preset.parameters * self._bits // 8 // gpus, "of weights"),
            Term(WORK_BYTES, "to compute with"),
            Term(self.adapters * ADAPTER_BYTES, words),
        ]

    def _room(self, gpus: int, size: InstanceType) -> int:
        """How many tokens there is memory for; negative where the weights have none."""
        held = sum(term.bytes for term in self._beside_cache(gpus))
        return (_takes(size) - held) // self._token(gpus)

    def _token(self, gpus: int) -> int:
        return self.network.cache_bytes(gpus, self._bits)

    @property
    def _bits(self) -> int:
        return bits_per_weight(self.preset.arguments)


def _takes(size: InstanceType) -> int:
    """Bytes of each GPU that vLLM takes at its start."""
    return size.usable_per_gpu * _share(size) // 100


def _share(size: InstanceType) -> int:
    usable = size.usable_per_gpu
    return min(MOST_PERCENT, max(1, (usable - OUTSIDE_BYTES) * 100 // usable))


def _refused(why: str, more: str = "") -> InvalidObject:
    return InvalidObject(
        reasons.RUNTIME_NOT_SUPPORTED,
        f"`{labels.RUNTIME}` is 'vllm', and {why}. {_TRANSFORMERS}{more}",
    )
