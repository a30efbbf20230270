"""The models and GPU sizes of presets.yaml, checked when they are read: a typo there must not become a node here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import jsonschema
import yaml

from kaito_hooks.errors import InvalidPresets
from kaito_hooks.kube.quantities import GIB, parse_binary
from kaito_hooks.presets_schema import SCHEMA

DEFAULT_PRICE_REGION = "eastus"


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
    """From other names of sizes to those that Azure's API answers to."""

    def azure_name(self, instance_type: str) -> str:
        """The name by which nodes are asked for, and which they carry as a label."""
        return self.instance_type_aliases.get(instance_type, instance_type)

    def tunable(self) -> list[str]:
        """Names of the presets that can be tuned, sorted."""
        return sorted(name for name, preset in self.presets.items() if preset.lora)


def parse_presets(text: str) -> Presets:
    """Raise `InvalidPresets` with the path of the first value that is wrong."""
    try:
        document = yaml.load(text, Loader=_NoDuplicates)  # a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidPresets(f"presets.yaml is no YAML: {error}") from error
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for problem in sorted(
        validator.iter_errors(document), key=lambda item: list(map(str, item.path))
    ):
        raise InvalidPresets(f"{_path(problem.absolute_path)}: {problem.message}")
    terms = document["terms"]
    sizes = {name: _size(name, raw) for name, raw in document["instanceTypes"].items()}
    for size in sizes.values():
        for successor in size.successors:
            if successor not in sizes:
                raise InvalidPresets(
                    f"instanceTypes.{size.name}.retired.successors: '{successor}' is not in instanceTypes"
                )
    aliases = document.get("instanceTypeAliases", {})
    for alias, name in aliases.items():
        if name not in sizes:
            raise InvalidPresets(f"instanceTypeAliases.{alias}: '{name}' is not in instanceTypes")
        if alias in sizes:
            raise InvalidPresets(f"instanceTypeAliases.{alias}: is in instanceTypes, too")
    return Presets(
        presets={name: _preset(name, raw, terms) for name, raw in document["presets"].items()},
        instance_types=sizes,
        instance_type_aliases=aliases,
    )


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


class _NoDuplicates(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where libyaml is there
    """A SafeLoader that refuses a key that is there twice, where YAML would keep the last."""


def _unique_mapping(loader: _NoDuplicates, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{key}' is there twice", key_node.start_mark
            )
        seen.add(key)
    return dict(loader.construct_mapping(node, deep=True))


_NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def _path(parts: Any) -> str:
    return (
        re.sub(r"\.\[", "[", ".".join(f"[{p}]" if isinstance(p, int) else str(p) for p in parts))
        or "presets.yaml"
    )


def _memory(raw: Mapping[str, str] | None) -> Memory | None:
    if raw is None:
        return None
    return Memory(parse_binary(raw["total"]), parse_binary(raw.get("perGPU", "0Gi")))


def _preset(name: str, raw: Mapping[str, Any], terms: Mapping[str, Any]) -> Preset:
    inference = _memory(raw["memory"]["inference"])
    lora = _memory(raw["memory"].get("lora"))
    workspace = parse_binary(raw.get("qloraWorkspace", terms["qloraWorkspace"]))
    qlora = Memory(int(raw["parameters"] * terms["qloraBytesPerParameter"]) + workspace)
    if inference is None:
        raise InvalidPresets(f"presets.{name}.memory.inference: is missing")
    return Preset(
        name=name,
        family=raw["family"],
        weights=Weights(**raw.get("weights", {})),
        parameters=raw["parameters"],
        disk=raw["disk"],
        gpus=raw["gpus"],
        inference=inference,
        lora=lora,
        qlora=qlora if lora else None,
        compute_capability=raw["computeCapability"],
        arguments=raw.get("arguments", {}),
        ready_seconds=raw["readySeconds"],
        private=raw.get("access") == "private",
        distributed=raw.get("distributed", False),
        target_modules=tuple(raw.get("targetModules", ())),
    )


def _size(name: str, raw: Mapping[str, Any]) -> InstanceType:
    retired = raw.get("retired", {})
    return InstanceType(
        name=name,
        gpu=raw["gpu"],
        gpus=raw["gpus"],
        memory=parse_binary(raw["memory"]),
        compute_capability=raw["computeCapability"],
        vcpus=raw["vcpus"],
        host_memory=parse_binary(raw["hostMemory"]),
        hourly_cost=Decimal(raw["hourlyCost"]),
        price_region=raw.get("priceRegion", DEFAULT_PRICE_REGION),
        retired=retired.get("date", ""),
        successors=tuple(retired.get("successors", ())),
        not_suggested=raw.get("notSuggested", ""),
    )
