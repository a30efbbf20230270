"""The typed Workspace (kaito.sh/v1alpha1): Kaito's fields at the top level, no spec."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from kaito_contract.reasons import Reason
from kaito_hooks.api import commands, labels
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.objects import (
    annotations_of,
    generation,
    get_in,
    is_deleting,
    mapping,
    metadata,
    name,
    namespace,
    number,
    sequence,
    text,
    uid,
)
from kaito_hooks.workspace import reasons, served_adapters
from kaito_hooks.workspace.client_access import ClientAccess, client_access
from kaito_hooks.workspace.served_adapters import ServedAdapter

DEFAULT_INSTANCE_TYPE = "Standard_NC24ads_A100_v4"
"""Kaito's own, Standard_NC12s_v3, is retired."""

_CAPACITY_TYPES = {"prefer": ("spot", "on-demand"), "require": ("spot",)}
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,4})?")


class Runtime(StrEnum):
    """What serves a model: the values of `kaito.sh/runtime`."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True)
class PresetChoice:
    """Which model, and whose image."""

    name: str
    private: bool
    image: str
    pull_secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """Training data: URLs or an image."""

    urls: tuple[str, ...]
    image: str
    pull_secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """Where the adapter is pushed to, and the Secret that may."""

    image: str
    push_secret: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """The tuning section."""

    preset: PresetChoice
    method: str
    """lora or qlora, in lower case."""
    config: str
    serve: bool
    input: Input
    output: Output


@dataclass(frozen=True, slots=True)
class Workspace:
    """A Workspace whose shape is right; what it names may still not exist."""

    name: str
    namespace: str
    uid: str
    generation: int
    count: int
    instance_type: str
    match_labels: Mapping[str, str]
    preferred_nodes: tuple[str, ...]
    capacity_types: tuple[str, ...]
    """Karpenter's words for what new nodes may be, in the order of preference; empty leaves it out."""
    max_hourly_cost: Decimal | None
    """USD for all nodes together."""
    tuning: Tuning | None
    inference: PresetChoice | None
    adapters: tuple[ServedAdapter, ...]
    """Of `inference`; the adapter that a tuning makes is not among them."""
    retry: str
    load_balancer: bool
    bypass_resource_checks: bool
    runtime: Runtime | None
    """None: what the operator serves by default."""
    access: ClientAccess
    """Who may ask the model server."""
    created: str
    """metadata.creationTimestamp."""

    @property
    def preset(self) -> PresetChoice:
        """The preset of whichever section is there."""
        preset = self.tuning.preset if self.tuning else self.inference
        if preset is None:
            raise TypeError("a Workspace has one of the sections")
        return preset

    @property
    def serves(self) -> bool:
        """Whether /chat is wanted."""
        return self.tuning is None or self.tuning.serve


def parse(parent: Mapping[str, Any]) -> Workspace:
    """Raise `InvalidObject` for what can't be or is not built yet."""
    resource = mapping(parent.get("resource"))
    annotations = annotations_of(parent)
    _refuse_unsupported(parent)
    tuning = _tuning(parent.get("tuning")) if parent.get("tuning") is not None else None
    inference = _inference(parent.get("inference")) if parent.get("inference") is not None else None
    if (tuning is None) == (inference is None):
        raise InvalidObject(
            reasons.WORKSPACE_INVALID, "Exactly one of `inference` and `tuning` must be specified"
        )
    return Workspace(
        name=name(parent),
        namespace=namespace(parent),
        uid=uid(parent),
        generation=generation(parent),
        count=max(1, number(resource.get("count"), 1)),
        instance_type=text(resource.get("instanceType")) or DEFAULT_INSTANCE_TYPE,
        match_labels=_match_labels(resource.get("labelSelector")),
        preferred_nodes=_strings(resource.get("preferredNodes")),
        capacity_types=_CAPACITY_TYPES.get(text(resource.get("spot")), ()),
        max_hourly_cost=_decimal(resource.get("maxHourlyCost")),
        tuning=tuning,
        inference=inference,
        adapters=served_adapters.parse(
            get_in(parent, "inference", "adapters"),
            is_private=bool(inference and inference.private),
        ),
        retry=annotations.get(labels.RETRY, ""),
        load_balancer=labels.is_truthy(annotations.get(labels.ENABLE_LOAD_BALANCER, "")),
        bypass_resource_checks=labels.is_truthy(annotations.get(labels.BYPASS_RESOURCE_CHECKS, "")),
        runtime=_runtime(annotations.get(labels.RUNTIME, "")),
        access=client_access(annotations, is_private=bool(inference and inference.private)),
        created="" if is_deleting(parent) else text(metadata(parent).get("creationTimestamp")),
    )


def _runtime(written: str) -> Runtime | None:
    if not written:
        return None
    if written not in tuple(Runtime):
        raise InvalidObject(
            reasons.RUNTIME_NOT_SUPPORTED,
            f"The annotation `{labels.RUNTIME}` must be 'transformers' or 'vllm', found '{written[:40]}'",
        )
    return Runtime(written)


def config_maps(parent: Mapping[str, Any]) -> list[str]:
    """Names of the ConfigMaps that the Workspace refers to."""
    named = (get_in(parent, "tuning", "config"), get_in(parent, "inference", "config"))
    return sorted({text(item) for item in named} - {""})


NOT_YET: Mapping[tuple[str, ...], str] = {
    ("inference", "template"): (
        "Create the Workspace with `inference.preset`, or a Deployment of your own on GPU nodes of your own"
    ),
    **{
        ("inference", "adapters", "source", key): remedy
        for key, remedy in served_adapters.NOT_YET.items()
    },
    ("inference", "config"): "Remove it; the model is served with the arguments of its preset",
    ("tuning", "preset", "presetOptions"): (
        "Create the Workspace without it; tuning takes the project's weights of the preset"
    ),
    ("tuning", "input", "volumeSource"): "Use `tuning.input.urls` or `tuning.input.image`",
    ("tuning", "output", "volumeSource"): "Use `tuning.output.image` with `imagePushSecret`",
    ("suspend",): (
        "Nodes that the Workspace has are kept, and cost as before. Set it to false to go on, or delete the Workspace "
        "to give them back; an adapter that was pushed stays in its registry: "
        "{delete}"
    ),
}
"""Fields that the CRD has and this version refuses, with what to do instead. Their descriptions in the CRD begin
with "Not supported yet:".
"""


def _refuse_unsupported(parent: Mapping[str, Any]) -> None:
    for path, remedy in NOT_YET.items():
        if get_in(parent, *path) not in (None, False, "", [], {}):
            delete = commands.kubectl("delete", "workspace", name(parent), "-n", namespace(parent))
            field = f"`{'.'.join(path)}`"
            raise InvalidObject(
                reasons.NOT_SUPPORTED_YET,
                f"{field} is not supported yet. {remedy.format(delete=delete)}",
            )


def _tuning(raw: object) -> Tuning:
    section = mapping(raw)
    source = mapping(section.get("input"))
    output = mapping(section.get("output"))
    method = text(section.get("method")).lower()
    if method not in ("lora", "qlora"):
        raise InvalidObject(reasons.WORKSPACE_INVALID, "`tuning.method` must be 'lora' or 'qlora'")
    urls, image = _strings(source.get("urls")), text(source.get("image"))
    if bool(urls) == bool(image):
        raise InvalidObject(
            reasons.INPUT_INVALID,
            "Exactly one of `urls` and `image` must be specified in `tuning.input`",
        )
    if not text(output.get("image")) or not text(output.get("imagePushSecret")):
        raise InvalidObject(
            Reason.OUTPUT_IMAGE_INVALID,
            "`tuning.output.image` and `tuning.output.imagePushSecret` must be specified",
        )
    return Tuning(
        preset=_preset(section.get("preset")),
        method=method,
        config=text(section.get("config")),
        serve=section.get("serve") is not False,
        input=Input(urls, image, _strings(source.get("imagePullSecrets"))),
        output=Output(text(output.get("image")), text(output.get("imagePushSecret"))),
    )


def _inference(raw: object) -> PresetChoice:
    return _preset(mapping(raw).get("preset"))


def _preset(raw: object) -> PresetChoice:
    preset = mapping(raw)
    options = mapping(preset.get("presetOptions"))
    choice = PresetChoice(
        name=text(preset.get("name")),
        private=preset.get("accessMode") == "private",
        image=text(options.get("image")),
        pull_secrets=_strings(options.get("imagePullSecrets")),
    )
    if not choice.name:
        raise InvalidObject(reasons.PRESET_UNKNOWN, "`preset.name` must be specified")
    if choice.private and not choice.image:
        raise InvalidObject(
            reasons.PRESET_PRIVATE,
            "`presetOptions.image` must be specified when `accessMode` is 'private'",
        )
    return choice


def _match_labels(raw: object) -> Mapping[str, str]:
    """The selector as labels that a new node can be given."""
    found = {
        key: value
        for key, value in mapping(get_in(raw, "matchLabels")).items()
        if isinstance(key, str) and isinstance(value, str)
    }
    for expression in sequence(get_in(raw, "matchExpressions")):
        key, values = text(get_in(expression, "key")), _strings(get_in(expression, "values"))
        if (
            get_in(expression, "operator") != "In"
            or len(values) != 1
            or found.get(key, values[0]) != values[0]
        ):
            raise InvalidObject(
                reasons.LABEL_SELECTOR_INVALID,
                f"`resource.labelSelector.matchExpressions` has the key '{key}': only `In` with one value "
                "can become a label of a new node; use `matchLabels`",
            )
        found[key] = values[0]
    return found


def _decimal(raw: object) -> Decimal | None:
    value = text(raw)
    return Decimal(value) if _DECIMAL.fullmatch(value) else None


def _strings(raw: object) -> tuple[str, ...]:
    return tuple(item for item in sequence(raw) if isinstance(item, str) and item)
