"""The models and GPU sizes that presets.yaml names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from kaito_hooks.kube.quantities import GIB

DEFAULT_PRICE_REGION = "eastus"
CLOUD = "Azure"
"""Whose sizes, prices and retirements presets.yaml has."""


@dataclass(frozen=True, slots=True)
class Memory:
    """GPU memory that a use needs, in bytes."""

    total: int
    """Over all GPUs."""
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
    qlora: Memory | None
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
    """Bytes over all GPUs."""
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
        """Bytes on each GPU."""
        return self.memory // self.gpus

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
