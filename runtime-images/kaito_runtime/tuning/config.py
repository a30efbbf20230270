"""training_config.yaml: Kaito's six sections as dataclasses, without torch.

Kaito flattens the sections into command-line arguments of transformers, peft and TRL. Here each
key is known by name: one that changes the training is a field, one that is valid there and changes
nothing here is listed as without effect, any other is an error that names the closest known key.
"""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from kaito_runtime.pod.termination import Failure, Reason
from kaito_runtime.tuning.config_keys import WITHOUT_EFFECT

TOP_KEY = "training_config"
DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How the base model is loaded."""

    torch_dtype: str = "auto"
    """`auto` is bfloat16 where the processor computes it fast, else float32."""
    trust_remote_code: bool = False
    """Run the Python code that lies beside the weights."""
    load_in_4bit: bool = False
    """The same as QuantizationConfig.load_in_4bit."""
    load_in_8bit: bool = False
    """The same as QuantizationConfig.load_in_8bit."""


@dataclass(frozen=True, slots=True)
class QuantizationConfig:
    """The base's quantisation by bitsandbytes; any makes the method QLoRA."""

    load_in_4bit: bool = False
    load_in_8bit: bool = False
    bnb_4bit_quant_type: str = "fp4"
    """`fp4` or `nf4`."""
    bnb_4bit_compute_dtype: str = "float32"
    """The type in which 4-bit weights are multiplied."""
    bnb_4bit_use_double_quant: bool = False
    """Quantise the quantisation constants too."""
    llm_int8_threshold: float = 6.0
    """Outliers above this stay in float16 (8 bits only)."""

    @property
    def name(self) -> str:
        """The word of docs/pods.md: `none`, `nf4`, `fp4` or `int8`."""
        if self.load_in_4bit:
            return self.bnb_4bit_quant_type
        return "int8" if self.load_in_8bit else "none"


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The adapter (Hu et al. 2021, arXiv:2106.09685)."""

    r: int = 8
    """Rank of the update."""
    lora_alpha: float = 8
    """The update is scaled by lora_alpha / r."""
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    """Names of linear layers; empty: DEFAULT_TARGET_MODULES, else all linear layers."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(r) instead (arXiv:2312.03732)."""
    use_dora: bool = False
    """Learn magnitude and direction apart (arXiv:2402.09353)."""
    bias: str = "none"
    """`none`, `all` or `lora_only`."""
    layers_to_transform: tuple[int, ...] = ()
    layers_pattern: str | None = None
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, int] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    fan_in_fan_out: bool = False
    init_lora_weights: bool | str = True


@dataclass(frozen=True, slots=True)
class TrainingArguments:
    """The training loop; names and defaults of transformers, `packing` and below of TRL."""

    num_train_epochs: float = 3.0
    max_steps: int = -1
    """When positive, the number of steps, whatever the epochs."""
    per_device_train_batch_size: int = 8
    """Rows per forward pass; with `packing` sequences of `max_length` tokens."""
    gradient_accumulation_steps: int = 1
    learning_rate: float = 5e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: int = 0
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    """On the adapter's matrices."""
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    """0 switches the clipping off."""
    optim: str = "adamw_torch"
    """AdamW (arXiv:1711.05101) is the one there is."""
    logging_steps: int = 0
    """A progress line each so many steps; 0: one a second."""
    gradient_checkpointing: bool = False
    """Recompute activations: a third less memory, a fifth slower."""
    seed: int = 42
    packing: bool = False
    """Fill each sequence with rows up to `max_length` tokens."""
    max_length: int = 1024
    """Longer rows are cut, in tokens."""
    assistant_only_loss: bool = False
    """Learn from the assistant's messages alone, not from the questions."""
    completion_only_loss: bool = True
    """With two columns: learn from the response alone."""


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """Where a row's text stands."""

    messages_column: str | None = None
    """A list of {role, content}; default `messages` where the data has it."""
    context_column: str | None = None
    """The question; default `prompt` where the data has it."""
    response_column: str | None = None
    """The answer; default `completion`, or `text` without a question."""
    shuffle_dataset: bool = True
    shuffle_seed: int = 42
    train_test_split: float = 1.0
    """Share of the rows to train on; the rest is evaluated after each epoch."""


@dataclass(frozen=True, slots=True)
class DataCollator:
    """Kept for Kaito's templates: masked language modelling is not a thing of these models."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The whole file."""

    model: ModelConfig = ModelConfig()
    quantization: QuantizationConfig = QuantizationConfig()
    lora: LoraConfig = LoraConfig()
    training: TrainingArguments = TrainingArguments()
    collator: DataCollator = DataCollator()
    dataset: DatasetConfig = DatasetConfig()
    without_effect: tuple[str, ...] = ()
    """Keys that were accepted and change nothing, as `Section.key`."""


_SECTIONS: dict[str, tuple[str, type]] = {
    "ModelConfig": ("model", ModelConfig),
    "QuantizationConfig": ("quantization", QuantizationConfig),
    "LoraConfig": ("lora", LoraConfig),
    "TrainingArguments": ("training", TrainingArguments),
    "DataCollator": ("collator", DataCollator),
    "DatasetConfig": ("dataset", DatasetConfig),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "torch_dtype": DTYPES,
    "bnb_4bit_compute_dtype": DTYPES[1:],
    "bnb_4bit_quant_type": ("nf4", "fp4"),
    "lr_scheduler_type": ("linear", "cosine", "constant", "constant_with_warmup"),
    "optim": ("adamw_torch", "adamw_torch_fused", "adamw_hf"),
    "bias": ("none", "all", "lora_only"),
}

_AT_LEAST: dict[str, float] = {
    "r": 1, "lora_alpha": 0, "lora_dropout": 0, "num_train_epochs": 0, "learning_rate": 0,
    "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "max_length": 8,
    "warmup_steps": 0, "warmup_ratio": 0, "weight_decay": 0, "max_grad_norm": 0,
    "logging_steps": 0, "seed": 0, "train_test_split": 0.01, "adam_epsilon": 0,
}  # fmt: skip
_AT_MOST: dict[str, float] = {"lora_dropout": 0.99, "train_test_split": 1, "warmup_ratio": 1}


def read_config(path: Path) -> TrainingConfig:
    """Return the configuration of a file; ConfigInvalid says what to write instead."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise _invalid(f"{path} does not exist; mount the ConfigMap there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"{path} can't be read: {error}") from None
    return parse_config(text)


def parse_config(text: str) -> TrainingConfig:
    """Return the configuration of a YAML text."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise _invalid(f"it is no YAML: {getattr(error, 'problem', error)}{where}") from None
    if not isinstance(content, dict) or TOP_KEY not in content:
        raise _invalid(f'the file must begin with "{TOP_KEY}:" and the sections below it')
    _require_known(content, {TOP_KEY}, "")
    sections = content[TOP_KEY] or {}
    if not isinstance(sections, dict):
        raise _invalid(f"`{TOP_KEY}` must be a map of sections")
    _require_known(sections, _SECTIONS.keys(), f"{TOP_KEY}.")
    without_effect: list[str] = []
    values = {
        name: _section(section, kind, sections.get(section), without_effect)
        for section, (name, kind) in _SECTIONS.items()
    }
    config = TrainingConfig(**values, without_effect=tuple(without_effect))
    quantization = dataclasses.replace(
        config.quantization,
        load_in_4bit=config.quantization.load_in_4bit or config.model.load_in_4bit,
        load_in_8bit=config.quantization.load_in_8bit or config.model.load_in_8bit,
    )
    if quantization.load_in_4bit and quantization.load_in_8bit:
        raise _invalid("`load_in_4bit` and `load_in_8bit` are both true; keep one")
    if config.dataset.context_column and not config.dataset.response_column:
        raise _invalid("`DatasetConfig.context_column` needs a `response_column` beside it")
    return dataclasses.replace(config, quantization=quantization)


def _section(section: str, kind: type, content: object, without_effect: list[str]) -> Any:
    if content is None:
        return kind()
    if not isinstance(content, dict):
        raise _invalid(f"`{section}` must be a map, found {_shown(content)}")
    fields = get_type_hints(kind)
    ignored = WITHOUT_EFFECT[section]
    _require_known(content, fields.keys() | ignored, f"{section}.")
    without_effect += [f"{section}.{key}" for key in content if key in ignored]
    return kind(
        **{
            key: _value(f"{section}.{key}", key, fields[key], value)
            for key, value in content.items()
            if key in fields and value is not None
        }
    )


def _value(path: str, key: str, kind: Any, value: Any) -> Any:
    alternatives = set(get_args(kind)) or {kind}
    if str(kind).startswith("tuple["):
        values = [value] if isinstance(value, str | int) else value
        wanted = get_args(kind)[0]
        if not isinstance(values, list) or not all(type(each) is wanted for each in values):
            raise _invalid(f"`{path}` must be a list of {_word(wanted)}, found {_shown(value)}")
        return tuple(values)
    if str(kind).startswith("collections.abc.Mapping"):
        if not isinstance(value, dict):
            raise _invalid(f"`{path}` must be a map, found {_shown(value)}")
        return value
    if float in alternatives and isinstance(value, str):
        value = _scientific(value)  # YAML 1.1 reads 5e-5 as text
    if float in alternatives and type(value) is int:
        value = float(value)
    if type(value) not in alternatives:
        words = " or ".join(sorted(_word(each) for each in alternatives if each is not type(None)))
        raise _invalid(f"`{path}` must be {words}, found {_shown(value)}")
    choices = _CHOICES.get(key)
    if choices and value not in choices:
        raise _invalid(f"`{path}` must be one of {', '.join(choices)}, found {_shown(value)}")
    if not isinstance(value, str) and not _AT_LEAST.get(key, value) <= value:
        raise _invalid(f"`{path}` must be at least {_AT_LEAST[key]:g}, found {value}")
    if not isinstance(value, str) and not value <= _AT_MOST.get(key, value):
        raise _invalid(f"`{path}` must be at most {_AT_MOST[key]:g}, found {value}")
    return value


def _require_known(content: Mapping[Any, Any], known: Any, prefix: str) -> None:
    for key in content:
        if key in known:
            continue
        close = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise _invalid(f'unknown key "{prefix}{key}"{hint}')


def _scientific(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _word(kind: type) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words[kind]


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)[:80]


def _invalid(message: str) -> Failure:
    return Failure(Reason.CONFIG_INVALID, f"training_config.yaml: {message}")
