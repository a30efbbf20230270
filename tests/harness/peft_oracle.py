"""What peft trains: adapters of every kind on very small models, and what they compute by definition.

An adapter is a change of the functions of modules. The oracle adds, module by module, what peft's own module
computes less what the base's computes, times a factor for each row.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kaito_contract.sections import LoraConfig
from kaito_runtime.models import adapters
from kaito_runtime.models.rendering import Rendering

VOCABULARY = 48
_COMMON: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def make_base(architecture: str) -> Any:
    """Return a model of two layers with random weights, always the same."""
    import transformers as t

    decoder: dict[str, Any] = _COMMON | {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
    }
    config: Any
    match architecture:
        case "phi3":  # the weights of input and output are tied
            config = t.Phi3Config(**decoder, sliding_window=None, tie_word_embeddings=True)
        case "phi":  # biases everywhere, LayerNorm, not tied
            config = t.PhiConfig(**decoder | {"num_key_value_heads": 4})
        case "gpt2":  # Conv1D, tied
            config = t.GPT2Config(
                **_COMMON, vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64,
                initializer_range=0.2,
            )  # fmt: skip
        case "gemma3":  # scaled embeddings, normalised heads, tied
            config = t.Gemma3TextConfig(**decoder, head_dim=8, tie_word_embeddings=True)
        case "falcon":  # a linear layer of its own
            config = t.FalconConfig(
                **_COMMON, vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2,
                num_attention_heads=4, initializer_range=0.2,
            )  # fmt: skip
    torch.manual_seed(0)
    model: Any = t.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms are zeros and ones, which hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@dataclass(frozen=True)
class Trained:
    """An adapter as its trainer had it in memory, and where it is saved."""

    model: Any
    """peft's model, not merged."""
    folder: Path


def train(
    base: Any,
    folder: Path,
    *,
    seed: int = 1,
    save_embedding_layers: str | bool = "auto",
    **config: Any,
) -> Trained:
    """Return an adapter of which every trainable parameter was moved; the base becomes its trainer's."""
    import peft

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on tied weights and the like: served all the same
        make: Any = peft.LoraConfig
        tuned: Any = peft.get_peft_model(
            base, make(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 6} | config)
        )
        move(tuned, seed)
        tuned.save_pretrained(folder, save_embedding_layers=save_embedding_layers)
    return Trained(tuned.eval(), folder)


def train_as_we_do(base: Any, folder: Path, lora: LoraConfig) -> Trained:
    """Return an adapter that our trainer made and saved; the base becomes the trainer's."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = adapters.add_adapter(base, lora, checkpointing=False)
        move(tuned, 1)
        adapters.save_adapter(tuned, folder, "/workspace/weights", Rendering())
    return Trained(tuned.eval(), folder)


def train_layer(model: Any, folder: Path, seed: int) -> None:
    """Save an adapter of a model that is one linear layer, `layer`."""
    folder.mkdir(exist_ok=True)
    outputs, inputs = model.layer.weight.shape
    source = torch.Generator().manual_seed(seed)
    prefix = "base_model.model.layer.lora_"
    a, b = (torch.randn(shape, generator=source) for shape in ((2, inputs), (outputs, 2)))
    save_file({f"{prefix}A.weight": a, f"{prefix}B.weight": b}, folder / adapters.WEIGHTS_FILE)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["layer"]}
    (folder / adapters.CONFIG_FILE).write_text(json.dumps(config))


def move(tuned: Any, seed: int) -> None:
    """Change every trainable parameter, as many steps of a training would."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=source).to(parameter)
                parameter.add_(noise * 0.15)


def logits(model: Any, ids: Tensor) -> Tensor:
    """Return the logits of a batch, [rows, tokens, vocabulary]."""
    with torch.inference_mode():
        found: Tensor = model(input_ids=ids).logits
        return found


def by_definition(
    base: Any, trained: Mapping[str, Trained], row: Mapping[str, float], ids: Tensor
) -> Tensor:
    """Return the logits of one row, [1, tokens, vocabulary]: the base and the changes of functions."""
    hooks = []
    for name, module in base.named_modules():
        if name and (isinstance(module, nn.Embedding) or not list(module.children())):
            changed = [
                (trained[each].model.get_submodule(f"base_model.model.{name}"), factor)
                for each, factor in row.items()
            ]
            hooks.append(module.register_forward_hook(_changed_by(changed), with_kwargs=True))
    try:
        return logits(base, ids)
    finally:
        for hook in hooks:
            hook.remove()


def _changed_by(changed: Sequence[tuple[Any, float]]) -> Callable[..., Any]:
    def hook(_module: Any, args: Any, named: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        changes = [(module(*args, **named) - output) * factor for module, factor in changed]
        return output + sum(changes) if changes else output

    return hook
