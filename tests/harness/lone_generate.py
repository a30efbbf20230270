"""What transformers' generate() answers to one prompt alone: the reference of every engine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

SETTINGS: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({"max_tokens": 1}, {"max_new_tokens": 1}),
    ({"max_tokens": 40}, {"max_new_tokens": 40}),
    ({"max_tokens": None, "max_total_tokens": 40}, {"max_new_tokens": None, "max_length": 40}),
    ({"max_tokens": 20, "min_tokens": 20}, {"max_new_tokens": 20, "min_new_tokens": 20}),
    ({"max_tokens": 20, "min_total_tokens": 20}, {"max_new_tokens": 20, "min_length": 20}),
    ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
    ({"repetition_penalty": 0.6}, {"repetition_penalty": 0.6}),
    ({"logit_bias": {305: 50.0}}, {"sequence_bias": [[[305], 50.0]]}),
    # Drawing among the likeliest one is no drawing.
    ({"greedy": False, "top_k": 1, "temperature": 2.0}, {}),
    ({"greedy": False, "top_k": 0, "top_p": 1e-6}, {}),
    ({"greedy": False, "top_k": 0, "top_p": 0.0}, {}),
    ({"greedy": False, "top_k": 0, "min_p": 1.0}, {}),
]
"""Ours, and generate()'s that mean the same."""


class LoneGenerate:
    """The model of a folder in float32, with adapters by their names."""

    def __init__(self, weights: Path, adapters: Mapping[str, Path]) -> None:
        self._weights = weights
        self._adapters = adapters

    @cached_property
    def tokenizer(self) -> Any:
        from kaito_runtime.models import load

        return load.load_tokenizer(self._weights)

    @cached_property
    def no_bytes(self) -> dict[int, float]:
        """A bias against tokens of single bytes: what they come to depends on those beside them."""
        return {
            token: -100.0
            for text, token in self.tokenizer.get_vocab().items()
            if text.startswith("<0x")
        }

    @cached_property
    def _model(self) -> Any:
        from kaito_contract.sections import QuantizationConfig
        from kaito_runtime.models import load

        placement = load.choose_placement("float32")
        base = load.load_base(self._weights, placement, QuantizationConfig())
        if not self._adapters:
            return base
        import peft

        (first, folder), *others = self._adapters.items()
        model: Any = peft.PeftModel.from_pretrained(base, str(folder), adapter_name=first)
        for name, other in others:
            model.load_adapter(str(other), adapter_name=name)
        return model.eval()

    def prompt(self, words: int, seed: int = 0) -> tuple[int, ...]:
        """A prompt of so many random tokens."""
        chance = random.Random(f"{words}/{seed}")
        return tuple(chance.randrange(300, len(self.tokenizer)) for _ in range(words))

    def ids(
        self, prompt: tuple[int, ...], adapter: str | None = None, **generation: Any
    ) -> list[int]:
        """The tokens of the answer, twelve of the likeliest unless `generation` says otherwise.

        The token that ends it is left out.
        """
        import torch

        inputs = torch.tensor([prompt])
        with torch.inference_mode(), self._using(adapter):
            made = self._model.generate(
                input_ids=inputs,
                attention_mask=torch.ones_like(inputs),
                pad_token_id=0,
                **{"do_sample": False, "max_new_tokens": 12, **generation},
            )
        found: list[int] = made[0, len(prompt) :].tolist()
        ends = generation.get("eos_token_id", [self.tokenizer.eos_token_id])
        return found[:-1] if found[-1] in ends else found

    def log_probabilities(self, ids: tuple[int, ...]) -> Any:
        """What the base model gives each token after each of these, [tokens, vocabulary] float32."""
        import torch

        with torch.inference_mode(), self._using(None):
            return self._model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)

    def _using(self, adapter: str | None) -> Any:
        from contextlib import nullcontext

        if not self._adapters:
            return nullcontext()
        if adapter is None:
            return self._model.disable_adapter()
        self._model.set_adapter(adapter)
        return nullcontext()
