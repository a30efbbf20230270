"""training_config.yaml: Kaito's six sections, their keys, defaults and bounds.

Kaito flattens the sections into command-line arguments of transformers, peft and TRL. Here each key is
known by name: one that changes the training is a field, one that is valid there and changes nothing here
is in `WITHOUT_EFFECT`, any other is unknown.
"""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

FILE = "training_config.yaml"
"""Key of the ConfigMap, and name of the file in the pod."""
TOP_KEY = "training_config"

DType = Literal["auto", "bfloat16", "float16", "float32"]
ComputeDType = Literal["bfloat16", "float16", "float32"]
QuantType = Literal["nf4", "fp4"]
DTYPES: tuple[str, ...] = get_args(DType)
COMPUTE_DTYPES: tuple[str, ...] = get_args(ComputeDType)
QUANT_TYPES: tuple[str, ...] = get_args(QuantType)


class InvalidConfig(ValueError):
    """The configuration can't be used; the error names the key and says what it must be."""


def _within(default: float, *, at_least: float, at_most: float = math.inf) -> Any:
    return field(default=default, metadata={"at_least": at_least, "at_most": at_most})


class _Section:
    """Holds its numbers to their bounds, whoever makes it."""

    __slots__ = ()

    def __post_init__(self: Any) -> None:
        for each in fields(self):
            if not each.metadata:
                continue
            value, path = getattr(self, each.name), f"`{type(self).__name__}.{each.name}`"
            least, most = each.metadata["at_least"], each.metadata["at_most"]
            if not math.isfinite(value):
                raise InvalidConfig(f"{path} must be a finite number, found {value}")
            if value < least:
                raise InvalidConfig(f"{path} must be at least {least:g}, found {value}")
            if value > most:
                raise InvalidConfig(f"{path} must be at most {most:g}, found {value}")


@dataclass(frozen=True, slots=True)
class ModelConfig(_Section):
    """How the base model is loaded."""

    torch_dtype: DType = "auto"
    """`auto` is bfloat16 where the processor computes it fast, else float32."""
    trust_remote_code: bool = False
    """Run the Python code that lies beside the weights."""
    load_in_4bit: bool = False
    """The same as QuantizationConfig.load_in_4bit."""
    load_in_8bit: bool = False
    """The same as QuantizationConfig.load_in_8bit."""


@dataclass(frozen=True, slots=True)
class QuantizationConfig(_Section):
    """The base's quantisation by bitsandbytes; any makes the method QLoRA."""

    load_in_4bit: bool = False
    load_in_8bit: bool = False
    bnb_4bit_quant_type: QuantType = "fp4"
    bnb_4bit_compute_dtype: ComputeDType = "float32"
    """The type in which 4-bit weights are multiplied."""
    bnb_4bit_use_double_quant: bool = False
    """Quantise the quantisation constants too."""
    llm_int8_threshold: float = 6.0
    """Outliers above this stay in float16 (8 bits only)."""

    def __post_init__(self) -> None:
        """Raise `InvalidConfig` for two quantisations at once."""
        if self.load_in_4bit and self.load_in_8bit:
            raise InvalidConfig(
                "`QuantizationConfig.load_in_4bit` and `load_in_8bit` may not both be true; remove one"
            )

    @property
    def name(self) -> str:
        """The word of docs/pods.md: `none`, `nf4`, `fp4` or `int8`."""
        if self.load_in_4bit:
            return self.bnb_4bit_quant_type
        return "int8" if self.load_in_8bit else "none"


_INITS = re.compile(r"gaussian|orthogonal|mica|olora|pissa(_niter_\d+)?")


@dataclass(frozen=True, slots=True)
class LoraConfig(_Section):
    """The adapter (Hu et al. 2021, arXiv:2106.09685)."""

    r: int = _within(8, at_least=1)
    """Rank of the update."""
    lora_alpha: float = _within(8, at_least=0)
    """The update is scaled by lora_alpha / r."""
    lora_dropout: float = _within(0.0, at_least=0, at_most=0.99)
    target_modules: tuple[str, ...] = ()
    """Names of linear layers; empty: those of the preset, else all linear layers."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(r) instead (arXiv:2312.03732)."""
    use_dora: bool = False
    """Learn magnitude and direction apart (arXiv:2402.09353)."""
    bias: Literal["none", "all", "lora_only"] = "none"
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: str | None = None
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, int] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    fan_in_fan_out: bool = False
    init_lora_weights: bool | str = True
    """How the two matrices begin; of peft's names those that need no data of their own."""

    def __post_init__(self) -> None:
        """Raise `InvalidConfig` for an initialisation that is not built here."""
        _Section.__post_init__(self)
        init = self.init_lora_weights
        if isinstance(init, str) and not _INITS.fullmatch(init):
            raise InvalidConfig(
                "`LoraConfig.init_lora_weights` must be true, false, gaussian, orthogonal, mica, olora, "
                f'pissa or pissa_niter_N with a number N, found "{init}"'
            )

    @property
    def reads_base(self) -> bool:
        """Whether the initialisation computes with the base's weights, which must not be quantised."""
        return self.init_lora_weights not in (True, False, "gaussian")

    @property
    def changes_base(self) -> bool:
        """Whether the initialisation takes a part out of the base's weights."""
        return str(self.init_lora_weights).startswith(("olora", "pissa"))


@dataclass(frozen=True, slots=True)
class TrainingArguments(_Section):
    """The training loop; names and defaults of transformers, `packing` and below of TRL."""

    num_train_epochs: float = _within(3.0, at_least=0)
    max_steps: int = -1
    """When positive, the number of steps, whatever the epochs."""
    per_device_train_batch_size: int = _within(8, at_least=1)
    """Rows per forward pass; with `packing` sequences of `max_length` tokens."""
    gradient_accumulation_steps: int = _within(1, at_least=1)
    learning_rate: float = _within(5e-5, at_least=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: int = _within(0, at_least=0)
    warmup_ratio: float = _within(0.0, at_least=0, at_most=1)
    weight_decay: float = _within(0.0, at_least=0)
    """On the adapter's matrices."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = _within(1e-8, at_least=0)
    max_grad_norm: float = _within(1.0, at_least=0)
    """0 switches the clipping off."""
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_hf"] = "adamw_torch"
    """AdamW (arXiv:1711.05101) is the one there is."""
    logging_steps: int = _within(0, at_least=0)
    """A progress line each so many steps; 0: one a second."""
    gradient_checkpointing: bool = False
    """Recompute activations: a third less memory, a fifth slower."""
    seed: int = _within(42, at_least=0)
    packing: bool = False
    """Fill each sequence with rows up to `max_length` tokens."""
    max_length: int = _within(1024, at_least=8)
    """Longer rows are cut, in tokens."""
    assistant_only_loss: bool = False
    """Learn from the assistant's messages alone, not from the questions."""
    completion_only_loss: bool = True
    """With two columns: learn from the response alone."""


@dataclass(frozen=True, slots=True)
class DatasetConfig(_Section):
    """Where a row's text stands."""

    messages_column: str | None = None
    """A list of {role, content}; default `messages` where the data has it."""
    context_column: str | None = None
    """The question; default `prompt` where the data has it."""
    response_column: str | None = None
    """The answer; default `completion`, or `text` without a question."""
    shuffle_dataset: bool = True
    shuffle_seed: int = 42
    train_test_split: float = _within(1.0, at_least=0.01, at_most=1)
    """Share of the rows to train on; the rest is evaluated after each epoch."""

    def __post_init__(self) -> None:
        """Raise `InvalidConfig` for a question without an answer, or a share out of bounds."""
        _Section.__post_init__(self)
        if self.context_column and not self.response_column:
            raise InvalidConfig(
                "`DatasetConfig.context_column` needs a `response_column` beside it"
            )


SECTIONS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (ModelConfig, QuantizationConfig, LoraConfig, TrainingArguments, DatasetConfig)
}
"""Sections with keys that change something."""


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


WITHOUT_EFFECT: Mapping[str, frozenset[str]] = {
    # The model is always what lies in the weights folder, on the devices of the pod.
    "ModelConfig": _keys(
        "pretrained_model_name_or_path state_dict cache_dir from_tf force_download resume_download "
        "proxies output_loading_info local_files_only revision device_map max_memory "
        "offload_folder"
    ),
    "QuantizationConfig": _keys(
        "quant_method llm_int8_skip_modules llm_int8_enable_fp32_cpu_offload "
        "llm_int8_has_fp16_weight bnb_4bit_quant_storage"
    ),
    # task_type is always CAUSAL_LM, the base is always the mounted one.
    "LoraConfig": _keys(
        "peft_type auto_mapping base_model_name_or_path revision task_type inference_mode "
        "loftq_config runtime_config megatron_config megatron_core"
    ),
    # The output folder is a flag; there is one process, no checkpoint, no reporting service; the
    # types of numbers are ModelConfig's; evaluation follows from DatasetConfig.train_test_split.
    "TrainingArguments": _keys(
        "output_dir overwrite_output_dir do_train do_eval do_predict ddp_find_unused_parameters "
        "ddp_backend ddp_bucket_cap_mb ddp_broadcast_buffers ddp_timeout ddp_static_graph "
        "save_strategy save_steps save_total_limit save_safetensors save_only_model "
        "save_on_each_node evaluation_strategy eval_strategy eval_steps eval_delay "
        "eval_accumulation_steps per_device_eval_batch_size prediction_loss_only "
        "logging_dir logging_strategy logging_first_step logging_nan_inf_filter log_level "
        "log_level_replica log_on_each_node report_to run_name disable_tqdm bf16 fp16 tf32 "
        "bf16_full_eval fp16_full_eval dataloader_num_workers dataloader_pin_memory "
        "dataloader_persistent_workers dataloader_prefetch_factor dataloader_drop_last "
        "remove_unused_columns group_by_length length_column_name label_names use_cpu no_cuda "
        "local_rank push_to_hub hub_model_id hub_strategy hub_token hub_private_repo data_seed "
        "skip_memory_metrics include_num_input_tokens_seen gradient_checkpointing_kwargs "
        "torch_empty_cache_steps full_determinism use_cache ignore_data_skip "
        "load_best_model_at_end metric_for_best_model greater_is_better "
        "auto_find_batch_size"
    ),
    # The data is what lies in the data folder.
    "DatasetConfig": _keys("dataset_path dataset_extension"),
    # Masked language modelling, which none of these models does.
    "DataCollator": _keys(
        "mlm mlm_probability pad_to_multiple_of return_tensors tf_experimental_compile"
    ),
}
"""Keys that Kaito's templates may hold and that change nothing here: accepted so that a ConfigMap written
for Kaito works unchanged, and named in the log. A key that would change the training and is not built
(deepspeed, neftune_noise_alpha, ...) is not here."""


def sections_of(document: object) -> dict[str, dict[str, Any]]:
    """Return the sections that a YAML document holds, by name; an empty one is there and empty.

    Raises:
        InvalidConfig: no `training_config` on top, an unknown section, or one that is no map.
    """
    if not isinstance(document, Mapping) or TOP_KEY not in document:
        raise InvalidConfig(f"must have the key `{TOP_KEY}` with sections below it")
    sections = document[TOP_KEY]
    if not isinstance(sections, Mapping):
        raise InvalidConfig(f"`{TOP_KEY}` must be a map of sections")
    require_known(sections, WITHOUT_EFFECT, f"{TOP_KEY}.")
    for name, values in sections.items():
        if values is not None and not isinstance(values, Mapping):
            raise InvalidConfig(f"`{name}` must be a map of keys and values, found {values!r}")
    return {name: dict(values or {}) for name, values in sections.items()}


def require_known(content: Mapping[Any, Any], known: Collection[str], prefix: str) -> None:
    """Raise `InvalidConfig` for a key that is not known; the error names the closest that is."""
    for key in content:
        if key not in known:
            close = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0)
            raise InvalidConfig(f"unknown key `{prefix}{key}`; did you mean `{close[0]}`?")
