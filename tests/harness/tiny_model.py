"""A Phi-3 shaped model with random weights and the demo's tokenizer; nothing is trained."""

from __future__ import annotations

from pathlib import Path

HEADS = 4


def make_tiny_model(folder: Path, head_size: int = 16) -> Path:
    """Write it as `from_pretrained` reads it; takes about two seconds.

    vLLM computes heads of at least 32 on processors.
    """
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    from kaito_runtime.demo import text
    from kaito_runtime.demo.tokenizer import make_tokenizer
    from kaito_runtime.models import load

    load.quiet()
    lines = text.lines(400, 0)
    tokenizer = make_tokenizer((part for line in lines for part in line), folder)
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=head_size * HEADS,
        intermediate_size=2 * head_size * HEADS,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=None,
        tie_word_embeddings=True,
        initializer_range=0.1,  # at 0.02 no training could make such a small model sure of a word
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Phi3ForCausalLM(config).save_pretrained(folder)
    return folder
