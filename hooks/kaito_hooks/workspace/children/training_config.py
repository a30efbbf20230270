"""training_config.yaml: Kaito's six sections, its defaults for each method, and its checks
(api/v1alpha1/params_validation.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.objects import mapping
from kaito_hooks.workspace import reasons

KEY = "training_config.yaml"
"""Key of the ConfigMap, and name of the file in the pod."""
SECTIONS = (
    "ModelConfig",
    "QuantizationConfig",
    "LoraConfig",
    "TrainingArguments",
    "DatasetConfig",
    "DataCollator",
)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same loader in C where libyaml is there: a frozen configuration is read at every sync."""

Config = Mapping[str, Mapping[str, Any]]
"""Sections by name."""


def default_config(method: str) -> Config:
    """What Kaito's lora-params-template and qlora-params-template say."""
    quantization: dict[str, Any] = {"load_in_4bit": False}
    if method == "qlora":
        quantization = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": "bfloat16",
            "bnb_4bit_use_double_quant": True,
        }
    return {
        "ModelConfig": {"torch_dtype": "bfloat16", "local_files_only": True, "device_map": "auto"},
        "QuantizationConfig": quantization,
        "LoraConfig": {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0},
        "TrainingArguments": {
            "output_dir": "/mnt/results",
            "ddp_find_unused_parameters": False,
            "save_strategy": "epoch",
            "per_device_train_batch_size": 1,
            "num_train_epochs": 3,
        },
        "DatasetConfig": {"shuffle_dataset": True, "train_test_split": 1},
        "DataCollator": {"mlm": True},
    }


@lru_cache(maxsize=512)
def parse_config(text: str, method: str, source: str) -> Config:
    """The sections of a user's file; raise `InvalidObject` naming the ConfigMap and what to write.

    The same text comes with every sync of a Workspace, and YAML is slow: hence the cache.
    """
    try:
        document = mapping(yaml.load(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise _invalid(source, f"`{KEY}` is not valid YAML{line}") from error
    root = document.get("training_config")
    if not isinstance(root, Mapping):
        raise _invalid(
            source, f"`{KEY}` must have the key `training_config` with sections below it"
        )
    for section, values in root.items():
        if section not in SECTIONS:
            raise _invalid(
                source, f"the section '{section}' is unknown; sections are {', '.join(SECTIONS)}"
            )
        if values is not None and not isinstance(values, Mapping):
            raise _invalid(source, f"the section `{section}` must hold keys and values")
    config = {section: dict(mapping(root.get(section))) for section in SECTIONS if section in root}
    _check_quantization(config.get("QuantizationConfig", {}), method, source)
    return config


def dump_config(config: Config) -> str:
    """The file for the pod; the same sections give the same bytes."""
    plain = {section: dict(values) for section, values in config.items()}
    return str(yaml.safe_dump({"training_config": plain}, sort_keys=True, default_flow_style=False))


def serving_arguments(config: Config) -> dict[str, str]:
    """Flags that load the base as it was tuned on: a QLoRA adapter belongs to its quantised base."""
    quantization = config.get("QuantizationConfig", {})
    flags: dict[str, str] = {}
    if quantization.get("load_in_8bit") is True:
        flags["load_in_8bit"] = ""
    if quantization.get("load_in_4bit") is True:
        flags["load_in_4bit"] = ""
        flags["bnb_4bit_quant_type"] = str(quantization.get("bnb_4bit_quant_type", "fp4"))
        flags["bnb_4bit_compute_dtype"] = str(quantization.get("bnb_4bit_compute_dtype", "float32"))
        if quantization.get("bnb_4bit_use_double_quant") is True:
            flags["bnb_4bit_use_double_quant"] = ""
    return flags


def _check_quantization(quantization: Mapping[str, Any], method: str, source: str) -> None:
    flags = {}
    for key in ("load_in_4bit", "load_in_8bit"):
        value = quantization.get(key)
        if value is not None and not isinstance(value, bool):
            raise _invalid(
                source, f"`QuantizationConfig.{key}` must be true or false, and is '{value}'"
            )
        flags[key] = value is True
    if all(flags.values()):
        raise _invalid(
            source,
            "`QuantizationConfig.load_in_4bit` and `load_in_8bit` may not both be true; remove one",
        )
    if method == "lora" and any(flags.values()):
        raise _invalid(
            source,
            "`QuantizationConfig.load_in_4bit` and `load_in_8bit` must not be true for the method 'lora'; "
            "remove them, or use `tuning.method` 'qlora'",
        )
    if method == "qlora" and not any(flags.values()):
        raise _invalid(
            source, "`QuantizationConfig.load_in_4bit` must be true for the method 'qlora'"
        )


def _invalid(source: str, what: str) -> InvalidObject:
    return InvalidObject(reasons.CONFIG_INVALID, f"ConfigMap '{source}': {what}")
