"""What serves the model: the transformers engine, or vLLM with a share of the GPUs' memory and a context that fit.

vLLM takes its memory at the start, all of it: what is left beside the weights is for keys and values. So it is
computed here, before a node is asked for, whether they have room, and for how many tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_hooks.api import labels
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.quantities import GIB, gib
from kaito_hooks.presets import (
    InstanceType,
    Memory,
    Network,
    Preset,
    bits_per_weight,
    capability,
)
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Runtime, Workspace
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.fit import Fit, fit
from kaito_hooks.workspace.sizes import Demand, suggestion

USABLE_PERCENT = 91
"""Of a GPU's memory by its name: a T4 of 16 GB reports 14.6 GiB (and an A10 of 24 GB 22.5)."""
OUTSIDE_BYTES = 3 * GIB // 2
"""On each GPU beside what vLLM counts: CUDA contexts and NCCL's buffers."""
MOST_PERCENT = 95
WORK_BYTES = 2 * GIB
"""On each GPU: activations of one step (8,192 tokens) and CUDA graphs."""
ADAPTER_BYTES = GIB
"""On each GPU: the matrices of an adapter; rank 64 on all linear layers of 14 billion weights is 0.5 GiB."""
LEAST_CONTEXT = 2048
"""A size that has no room for so many tokens is refused."""
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
        _require_possible(workspace, context)
        found = fit(workspace, presets, images.vllm_compute_capabilities)
        if workspace.tuning:
            found = fit(workspace, presets, images.compute_capabilities)
        return found, _plan(workspace, found, context)
    found = fit(workspace, presets, images.compute_capabilities)
    if workspace.runtime is None and context.runtime is Runtime.VLLM and workspace.serves:
        try:
            _require_possible(workspace, context)
            fit(workspace, presets, images.vllm_compute_capabilities)
            return found, _plan(workspace, found, context)
        except InvalidObject:
            return found, None
    return found, None


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


def _plan(workspace: Workspace, found: Fit, context: Context) -> VllmPlan:
    preset, size, network = found.preset, found.instance_type, found.preset.network
    if network is None:
        raise _refused(f"the shape of '{preset.name}' is not known (`network` in presets.yaml)")
    gpus = max(n for n in range(1, found.gpus + 1) if network.can_be_spread(n))
    if size is None:
        return VllmPlan(gpus, None, None)
    is_tuned = workspace.tuning is not None
    use = _Use(preset, network, gpus, is_tuned, 1 if is_tuned else len(workspace.adapters))
    room, least = use.room(size), min(use.longest, LEAST_CONTEXT)
    has_bfloat16 = capability(size.compute_capability) >= BFLOAT16_FROM
    if room >= least:
        return VllmPlan(gpus, _share(size), min(use.longest, room // BLOCK * BLOCK), has_bfloat16)
    if workspace.bypass_resource_checks:
        return VllmPlan(gpus, _share(size), None, has_bfloat16)
    demand = use.demand(least, context.images.vllm_compute_capabilities)
    raise InvalidObject(
        reasons.INSTANCE_TYPE_TOO_SMALL,
        f"vLLM needs {gib(demand.memory.per_gpu)} on each GPU for {preset.name} and {least} tokens of "
        f"context; {size.name} gives {size.describe()}. Create the Workspace with `resource.instanceType` "
        f"{suggestion(demand, context.presets)}, or set the annotation `{labels.RUNTIME}` to 'transformers'",
    )


@dataclass(frozen=True, slots=True)
class _Use:
    """What a model takes of each of so many GPUs."""

    preset: Preset
    network: Network
    gpus: int
    is_tuned: bool
    adapters: int

    @property
    def longest(self) -> int:
        """Tokens that it is served with at most.

        An adapter is asked with the positions that it was tuned with. vLLM encodes them by the longest sequence
        that may come, and not by what comes.
        """
        return (self.adapters and self.network.long_positions_from) or self.network.context

    @property
    def beside_cache(self) -> int:
        """Bytes without keys and values."""
        weights = self.preset.parameters * self._bits // 8 // self.gpus
        return weights + WORK_BYTES + self.adapters * ADAPTER_BYTES

    def room(self, size: InstanceType) -> int:
        """How many tokens there is memory for; negative where the weights have none."""
        free = _usable(size) * _share(size) // 100 - self.beside_cache
        return free // self._token

    def demand(self, tokens: int, capabilities: tuple[str, ...]) -> Demand:
        """What a size must have for a context of so many tokens."""
        wanted = self.beside_cache + tokens * self._token
        usable = max(wanted + OUTSIDE_BYTES, wanted * 100 // MOST_PERCENT)
        each = -(-usable * 100 // USABLE_PERCENT)
        total = max(self.preset.inference.total, each * self.gpus)
        built_for = sorted(map(capability, capabilities))
        lowest = max(capability(self.preset.compute_capability), built_for[0])
        return Demand(self.preset, Memory(total, each), self.is_tuned, lowest, built_for[-1])

    @property
    def _token(self) -> int:
        return self.network.cache_bytes(self.gpus, self._bits)

    @property
    def _bits(self) -> int:
        return bits_per_weight(self.preset.arguments)


def _usable(size: InstanceType) -> int:
    return size.memory_per_gpu * USABLE_PERCENT // 100


def _share(size: InstanceType) -> int:
    usable = _usable(size)
    return min(MOST_PERCENT, max(1, (usable - OUTSIDE_BYTES) * 100 // usable))


def _refused(why: str, more: str = "") -> InvalidObject:
    return InvalidObject(
        reasons.RUNTIME_NOT_SUPPORTED,
        f"`{labels.RUNTIME}` is 'vllm', and {why}. {_TRANSFORMERS}{more}",
    )
