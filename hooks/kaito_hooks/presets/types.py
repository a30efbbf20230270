"""The models and GPU sizes that presets.yaml names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from kaito_hooks.kube.quantities import GIB

DEFAULT_PRICE_REGION = "eastus"
USABLE_PERCENT = 91
"""Of a GPU's memory by its name: a T4 of 16 GB reports 14.6 GiB, and an A10 of 24 GB 22."""
CLOUD = "Azure"
"""Whose sizes, prices and retirements presets.yaml has."""


@dataclass(frozen=True, slots=True)
class Memory:
    """GPU memory in bytes that a use needs at least, where more than its terms add up to."""

    total: int
    """Over all GPUs of a pod."""
    per_gpu: int = 0
    """On each GPU; 0 when only the total counts."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's weights come from: an image or a repository of the Hugging Face hub."""

    image: str = ""
    path: str = ""
    repository: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """The shape of a model, as far as memory and GPUs depend on it."""

    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    context: int
    """Tokens that it was made for at most."""
    long_positions_from: int | None
    """Where the positions of the whole sequence are encoded differently once it is longer."""

    def can_be_spread(self, gpus: int) -> bool:
        """Whether each layer can be shared out over so many GPUs."""
        each = self.key_value_heads
        return self.heads % gpus == 0 and (each % gpus == 0 or gpus % each == 0)

    @property
    def hidden_size(self) -> int:
        """Values of a token between two layers."""
        return self.heads * self.head_size

    def cache_bytes(self, gpus: int, bits: int) -> int:
        """Keys and values of a token on each of so many GPUs."""
        heads = max(1, self.key_value_heads // gpus)
        return 2 * self.layers * heads * self.head_size * bits // 8


@dataclass(frozen=True, slots=True)
class Preset:
    """A model and what it needs."""

    name: str
    family: str
    weights: Weights
    parameters: int
    disk: str
    """Size of the node's OS disk, as a Kubernetes quantity."""
    gpus: int
    inference: Memory
    lora: Memory | None
    """None when the preset can't be tuned."""
    quantised_bytes: int
    """Of the weights as QLoRA has them on the GPUs."""
    tuning_workspace: int
    """Bytes on each GPU that a tuning has beside weights and activations."""
    compute_capability: str
    arguments: Mapping[str, str]
    ready_seconds: int
    private: bool
    distributed: bool
    target_modules: tuple[str, ...]
    network: Network | None = None
    """None where nobody else than the user's own image serves it."""
    vllm_adapters: bool = True
    """Whether vLLM serves adapters of it."""

    @property
    def spreads(self) -> bool:
        """Whether a server computes on several GPUs; Llama's own program has one for each of its processes."""
        return not self.private

    @property
    def weights_bytes(self) -> int:
        """Of the files of the weights, once: never quantised, in the type that they are served in."""
        dtype = self.arguments.get("torch_dtype", "auto")
        return self.parameters * bits_per_weight({"torch_dtype": dtype}) // 8


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A GPU size as Azure names it."""

    name: str
    gpu: str
    gpus: int
    memory: int
    """Bytes over all GPUs, by the name of the GPU."""
    reported: int | None
    """Bytes of each GPU as its driver reports them; None where nobody has told."""
    compute_capability: str
    vcpus: int
    host_memory: int
    """Bytes of the virtual machine's own memory."""
    hourly_cost: Decimal
    """List price in USD."""
    price_region: str
    """Azure's name of the region of that price."""
    retired: str
    """Date, or empty."""
    successors: tuple[str, ...]
    not_suggested: str
    """Why it is no remedy although it is sold, or empty."""

    @property
    def is_remedy(self) -> bool:
        """Whether a message may name it: its nodes can be made, and serve without more ado."""
        return not self.retired and not self.not_suggested

    @property
    def memory_per_gpu(self) -> int:
        """Bytes on each GPU, by its name."""
        return self.memory // self.gpus

    @property
    def usable_per_gpu(self) -> int:
        """Bytes that a program finds on each GPU."""
        return self.reported or self.memory_per_gpu * USABLE_PERCENT // 100

    def describe(self) -> str:
        """The size in words, as in `2 V100 GPUs with 16 GiB each`."""
        plural = "s" if self.gpus > 1 else ""
        each = " each" if self.gpus > 1 else ""
        return f"{self.gpus} {self.gpu} GPU{plural} with {self.memory_per_gpu // GIB} GiB{each}"


@dataclass(frozen=True, slots=True)
class Presets:
    """Everything that presets.yaml says."""

    presets: Mapping[str, Preset]
    instance_types: Mapping[str, InstanceType]
    instance_type_aliases: Mapping[str, str]
    """From other names of sizes to those that the cloud's API answers to."""

    def api_name(self, instance_type: str) -> str:
        """The name by which nodes are asked for, and which they carry as a label."""
        return self.instance_type_aliases.get(instance_type, instance_type)

    def tunable(self) -> list[str]:
        """Names of the presets that can be tuned, sorted."""
        return sorted(name for name, preset in self.presets.items() if preset.lora)


def bits_per_weight(arguments: Mapping[str, str]) -> int:
    """Of a model loaded with these arguments of the server; `auto` takes one of the types of 16 bits."""
    for argument, bits in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        if arguments.get(argument, "false").lower() not in ("false", "0", "no"):
            return bits
    return 32 if arguments.get("torch_dtype") == "float32" else 16


def capability(value: str) -> tuple[int, int]:
    """A compute capability for comparison: '7.5' is (7, 5)."""
    major, _, minor = value.partition(".")
    return int(major), int(minor)
