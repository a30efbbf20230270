"""training_config.yaml: Kaito's six sections, its defaults for each method, and its checks
(api/v1alpha1/params_validation.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from kaito_contract.reasons import Reason
from kaito_contract.sections import (
    FILE,
    TOP_KEY,
    InvalidConfig,
    QuantizationConfig,
    sections_of,
)
from kaito_hooks.errors import InvalidObject

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
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise _invalid(source, f"{FILE} is not valid YAML{line}") from error
    try:
        config = sections_of(document)
        _check_quantization(config.get("QuantizationConfig", {}), method)
    except InvalidConfig as error:
        raise _invalid(source, f"{FILE}: {error}") from None
    return config


def dump_config(config: Config) -> str:
    """The file for the pod; the same sections give the same bytes."""
    plain = {section: dict(values) for section, values in config.items()}
    return str(yaml.safe_dump({TOP_KEY: plain}, sort_keys=True, default_flow_style=False))


def serving_arguments(config: Config) -> dict[str, str]:
    """Flags that load the base as it was tuned on: a QLoRA adapter belongs to its quantised base."""
    quantization = config.get("QuantizationConfig", {})
    flags: dict[str, str] = {}
    if quantization.get("load_in_8bit") is True:
        flags["load_in_8bit"] = ""
    if quantization.get("load_in_4bit") is True:
        flags["load_in_4bit"] = ""
        default = QuantizationConfig()
        for key in ("bnb_4bit_quant_type", "bnb_4bit_compute_dtype"):
            flags[key] = str(quantization.get(key, getattr(default, key)))
        if quantization.get("bnb_4bit_use_double_quant") is True:
            flags["bnb_4bit_use_double_quant"] = ""
    return flags


def _check_quantization(values: Mapping[str, Any], method: str) -> None:
    """Kaito's checks of a method; those of other keys are the check Job's."""
    quantization = QuantizationConfig(
        load_in_4bit=_switch(values, "load_in_4bit"), load_in_8bit=_switch(values, "load_in_8bit")
    )
    if method == "lora" and quantization.name != "none":
        raise InvalidConfig(
            "`QuantizationConfig.load_in_4bit` and `load_in_8bit` must not be true for the method 'lora'; "
            "remove them, or use `tuning.method` 'qlora'"
        )
    if method == "qlora" and quantization.name == "none":
        raise InvalidConfig("`QuantizationConfig.load_in_4bit` must be true for the method 'qlora'")


def _switch(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidConfig(f"`QuantizationConfig.{key}` must be true or false, found '{value}'")
    return value is True


def _invalid(source: str, what: str) -> InvalidObject:
    return InvalidObject(Reason.CONFIG_INVALID, f"ConfigMap '{source}': {what}")
