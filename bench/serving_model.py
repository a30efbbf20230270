"""A model of 4.5 million parameters with random weights, and adapters for it."""

from __future__ import annotations

from pathlib import Path

ADAPTERS = ("first", "second", "third", "fourth")


def make_model(folder: Path) -> Path:
    """Write a Phi-3 shaped model and its tokenizer."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    from kaito_runtime.demo import text
    from kaito_runtime.demo.tokenizer import make_tokenizer
    from kaito_runtime.models import load

    load.quiet()
    folder.mkdir()
    lines = text.lines(400, 0)
    tokenizer = make_tokenizer((part for line in lines for part in line), folder)
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=2048,
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)
    return folder


def make_adapters(weights: Path, folder: Path) -> Path:
    """Write four adapters of rank 8 on all linear layers, none of which is zero."""
    import torch
    from transformers import AutoModelForCausalLM

    from kaito_contract.sections import LoraConfig
    from kaito_runtime.models import adapters
    from kaito_runtime.models.rendering import Rendering

    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        tuned = adapters.add_adapter(base, LoraConfig(r=8), checkpointing=False)
        for parameter in adapters.trainable_parameters(tuned):
            torch.nn.init.normal_(parameter, std=0.02)
        adapters.save_adapter(tuned, folder / name, str(weights), Rendering())
    return folder
