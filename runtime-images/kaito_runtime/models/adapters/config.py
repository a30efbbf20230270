"""adapter_config.json of peft, and which of its kinds are served exactly.

Names and meanings are those of peft.LoraConfig (0.21). A key that changes the function and is not built
here is refused with its reason, and so is one that this release does not know: peft adds kinds with every
release, and none may be served as something else.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from kaito_runtime.models.adapters.files import CONFIG_FILE
from kaito_runtime.models.adapters.refusals import refusal


@dataclass(frozen=True, slots=True)
class BlockDiagonal:
    """Which layers have A or B as blocks on a diagonal (peft.BdLoraConfig)."""

    target_modules_bd_a: tuple[str, ...] = ()
    target_modules_bd_b: tuple[str, ...] = ()
    nblocks: int = 1

    def dense(self, module: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Return A and B of a module as whole matrices."""
        if any(pattern in module for pattern in self.target_modules_bd_a):
            return torch.block_diag(*a.chunk(self.nblocks)), b
        if any(pattern in module for pattern in self.target_modules_bd_b):
            return a, torch.block_diag(*b.chunk(self.nblocks))
        return a, b


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What of peft.LoraConfig decides what the adapter computes."""

    r: int
    lora_alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    lora_bias: bool = False
    init_lora_weights: bool | str = True
    target_modules: tuple[str, ...] | str = ()
    exclude_modules: tuple[str, ...] | str = ()
    layers_to_transform: tuple[int, ...] | int = ()
    layers_pattern: tuple[str, ...] | str = ()
    modules_to_save: tuple[str, ...] = ()
    trainable_token_indices: Mapping[str, tuple[int, ...]] | tuple[int, ...] = ()
    ensure_weight_tying: bool = False
    use_bdlora: BlockDiagonal | None = None
    kasa_config: Mapping[str, Any] | None = None

    @property
    def taken_from_base(self) -> str:
        """What was taken out of the base's weights when the training began: `pissa`, `olora`, `kasa`."""
        if self.kasa_config is not None:
            return "kasa"
        return str(self.init_lora_weights) if self.init_lora_weights in ("pissa", "olora") else ""

    def rank(self, module: str) -> int:
        """Return the rank of the update of a module."""
        return self.rank_pattern.get(_first_match(self.rank_pattern, module), self.r)

    def scale(self, module: str) -> float:
        """Return what the product of the two matrices of a module is multiplied by."""
        alpha = self.alpha_pattern.get(_first_match(self.alpha_pattern, module), self.lora_alpha)
        rank = self.rank(module)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def saves(self, module: str) -> bool:
        """Whether the module, or one that it lies in, is one of `modules_to_save`."""
        return any(re.match(rf"(^|.*\.){each}($|\..*)", module) for each in self.modules_to_save)

    def targets(self, module: str) -> bool:
        """Whether `target_modules` names the module (peft.tuners.tuners_utils)."""
        if _is_named(self.exclude_modules, module) or self.saves(module):
            return False
        if isinstance(self.target_modules, str):
            return re.fullmatch(self.target_modules, module) is not None
        if module in self.target_modules:
            return True
        return _is_named(self.target_modules, module) and self._is_in_layers(module)

    def _is_in_layers(self, module: str) -> bool:
        wanted = self.layers_to_transform
        wanted = (wanted,) if isinstance(wanted, int) else wanted
        if not wanted:
            return True
        patterns = self.layers_pattern
        patterns = (patterns,) if isinstance(patterns, str) else patterns
        each = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in patterns if pattern]
        found = (re.match(pattern, module) for pattern in each or [r".*?\.[^.]*\.(\d+)\."])
        return next((int(match[1]) in wanted for match in found if match), False)


_KNOWN = frozenset(each.name for each in fields(AdapterConfig))
_WITHOUT_EFFECT = frozenset(
    {
        # Of the training alone.
        *("corda_config", "eva_config", "inference_mode", "loftq_config", "lora_dropout"),
        *("lora_ga_config", "monteclora_config", "runtime_config", "velora_config"),
        # Where it came from.
        *("auto_mapping", "base_model_name_or_path", "peft_type", "peft_version", "revision"),
        *("task_type", "megatron_core", "qalora_group_size"),
        # Said by the module's type.
        "fan_in_fan_out",
    }
)
_REFUSED = {
    "alora_invocation_tokens": "it acts on the tokens after its invocation alone (activated LoRA)",
    "arrow_config": "it routes every token between other adapters (Arrow)",
    "layer_replication": "it repeats layers of the base, which all other adapters would see",
    "megatron_config": "its layers are Megatron's",
    "target_parameters": "it changes parameters that no linear layer holds",
    "use_qalora": "it pools its inputs by groups of a GPTQ base (QALoRA)",
}
_INITS = frozenset([True, False, "gaussian", "orthogonal", "eva", "mica", "pissa", "olora"])
_REFUSED_INITS = {
    "corda": "the data that its initialisation was computed from",
    "loftq": "the base that its initialisation quantised",
    "lora_ga": "the gradients that its initialisation was computed from",
}


def read_config(name: str, folder: Path) -> AdapterConfig:
    """Return the configuration of an adapter; AdapterInvalid for one that can't be served exactly."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise refusal(name, f"it has no {CONFIG_FILE}; its image must hold it below /data")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = content["peft_type"]
    except (OSError, ValueError, KeyError, TypeError):
        raise _no_config(name) from None
    if kind != "LORA":
        raise refusal(name, f'its kind is "{kind}"; only LORA can be served')
    task = content.get("task_type") or "CAUSAL_LM"
    if task != "CAUSAL_LM":
        raise refusal(name, f'its task_type is "{task}"; only CAUSAL_LM can be served')
    set_keys = {key: value for key, value in content.items() if value not in (None, False, [], {})}
    for key in sorted(set_keys.keys() - _KNOWN - _WITHOUT_EFFECT):
        why = _REFUSED.get(key, "which this release does not know: it may change what is computed")
        raise refusal(name, f"its {CONFIG_FILE} has `{key}`: {why}; tune without it")
    try:
        values = {key: value for key, value in content.items() if value is not None}
        known = {key: values[key] for key in _KNOWN & values.keys()}
        config = TypeAdapter(AdapterConfig).validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _no_config(name, f" (`{where}`: {error.errors()[0]['msg']})") from None
    try:
        config.targets(""), config.scale("")
    except re.error as error:
        raise _no_config(name, f" (a pattern is not a regular expression: {error})") from None
    _require_known_init(name, config.init_lora_weights)
    return config


def _require_known_init(name: str, init: bool | str) -> None:
    if init in _INITS:
        return
    if str(init).startswith("pissa_niter_"):
        missing = "the random numbers that its initialisation drew"
    else:
        missing = _REFUSED_INITS.get(str(init), "what its initialisation did to the base")
    raise refusal(
        name,
        f"`init_lora_weights` is {json.dumps(init)}, which changed the base's weights, and {missing} "
        "can't be known here; save it relative to the base, with peft's "
        "`path_initial_model_for_weight_conversion`",
    )


def _first_match(patterns: Mapping[str, Any], module: str) -> str:
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), module)


def _is_named(names: tuple[str, ...] | str, module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return module in names or any(module.endswith(f".{each}") for each in names)


def _no_config(name: str, what: str = "") -> Exception:
    return refusal(name, f"its {CONFIG_FILE} is not the configuration of an adapter{what}")
