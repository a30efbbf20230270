"""presets.yaml, checked when it is read: a typo there must not become a node here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import jsonschema
import yaml

from kaito_hooks.errors import InvalidPresets
from kaito_hooks.kube.quantities import parse_binary
from kaito_hooks.presets.schema import SCHEMA
from kaito_hooks.presets.types import (
    DEFAULT_PRICE_REGION,
    InstanceType,
    Memory,
    Network,
    Preset,
    Presets,
    Weights,
)


def parse_presets(text: str) -> Presets:
    """Raise `InvalidPresets` with the path of the first value that is wrong."""
    try:
        document = yaml.load(text, Loader=_NoDuplicates)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        raise InvalidPresets(f"presets.yaml is not valid YAML: {error}") from error
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
        quantised_bytes=int(raw["parameters"] * terms["qloraBytesPerParameter"]),
        tuning_workspace=parse_binary(raw.get("qloraWorkspace", terms["qloraWorkspace"])),
        compute_capability=raw["computeCapability"],
        arguments=raw.get("arguments", {}),
        ready_seconds=raw["readySeconds"],
        private=raw.get("access") == "private",
        distributed=raw.get("distributed", False),
        target_modules=tuple(raw.get("targetModules", ())),
        network=_network(raw.get("network")),
        vllm_adapters=raw.get("vllmAdapters", True),
    )


def _network(raw: Mapping[str, int] | None) -> Network | None:
    if raw is None:
        return None
    return Network(
        layers=raw["layers"],
        heads=raw["heads"],
        key_value_heads=raw["keyValueHeads"],
        head_size=raw["headSize"],
        context=raw["context"],
        long_positions_from=raw.get("longPositionsFrom"),
    )


def _size(name: str, raw: Mapping[str, Any]) -> InstanceType:
    retired = raw.get("retired", {})
    return InstanceType(
        name=name,
        gpu=raw["gpu"],
        gpus=raw["gpus"],
        memory=parse_binary(raw["memory"]),
        reported=parse_binary(raw["reported"]) if "reported" in raw else None,
        compute_capability=raw["computeCapability"],
        vcpus=raw["vcpus"],
        host_memory=parse_binary(raw["hostMemory"]),
        hourly_cost=Decimal(raw["hourlyCost"]),
        price_region=raw.get("priceRegion", DEFAULT_PRICE_REGION),
        retired=retired.get("date", ""),
        successors=tuple(retired.get("successors", ())),
        not_suggested=raw.get("notSuggested", ""),
    )
