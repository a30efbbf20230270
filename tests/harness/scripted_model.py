"""A model and a tokenizer of a few lines that do what the prompt says: raise here, hang up there.

What is raised in a forward pass has the place `compute`, what is raised in generate() `generate`.

A token is a character. The words of `TROUBLE` in a prompt are raised where their name says; the hook
`moment` is called at each place where a client might hang up.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

CONTEXT = 400
VOCABULARY = 1_000


class PanicError(BaseException):
    """What the Rust code of tokenizers raises is no Exception."""


TROUBLE: dict[str, BaseException] = {
    "<encode ValueError>": ValueError("no such character"),
    "<encode Panic>": PanicError("index out of bounds"),
    "<decode RuntimeError>": RuntimeError("unknown token"),
    "<decode Panic>": PanicError("not a char boundary"),
    "<compute ValueError>": ValueError("no such shape"),
    "<compute RuntimeError>": RuntimeError("shape mismatch"),
    "<compute IndexError>": IndexError("index out of range in self"),
    "<compute OutOfMemory>": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    "<compute MemoryError>": MemoryError(),
    "<compute Panic>": PanicError("unreachable"),
    "<compute Assert>": RuntimeError("CUDA error: device-side assert triggered"),
    "<generate ValueError>": ValueError("`temperature` has to be positive"),
    "<generate RuntimeError>": RuntimeError("shape mismatch"),
    "<generate IndexError>": IndexError("index out of range in self"),
    "<generate OutOfMemory>": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    "<generate MemoryError>": MemoryError(),
    "<generate Panic>": PanicError("unreachable"),
    "<generate Assert>": RuntimeError("CUDA error: device-side assert triggered"),
}


class ScriptedTokenizer:
    pad_token_id = 0
    eos_token_id = None
    is_fast = False

    def __init__(self, moment: Callable[[], object] = lambda: None) -> None:
        self._moment = moment

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        self._moment()
        _raise("encode", text)
        return {"input_ids": [ord(character) for character in text]}

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **_: Any) -> str:
        return "".join(message["content"] for message in messages)

    def get_vocab(self) -> dict[str, int]:
        return {chr(number): number for number in range(VOCABULARY)}

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        self._moment()
        text = "".join(map(chr, ids))
        _raise("decode", text, tail=6)  # a detokenizer sees the end of a prompt alone
        return text


class ScriptedModel:
    """Continues every prompt with "a"."""

    device = torch.device("cpu")
    max_position_embeddings = CONTEXT
    vocab_size = VOCABULARY
    generation_config = types.SimpleNamespace(eos_token_id=None)
    layer_types = ("full_attention",)
    per_layer_config = (types.SimpleNamespace(),)

    def __init__(self, moment: Callable[[], object] = lambda: None) -> None:
        self._moment = moment
        self.broken: BaseException | None = None
        """Raised by every generation from the time it is set, as a GPU does after an assert."""
        self.batches: list[int] = []

    @property
    def config(self) -> Any:
        return types.SimpleNamespace(get_text_config=lambda: self)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        """Return scores by which "a" is the likeliest: [rows, tokens, vocabulary] float32."""
        self._moment()
        self.batches.append(len(input_ids))
        if self.broken:
            raise self.broken
        for row in input_ids.tolist():
            _raise("compute", "".join(map(chr, row)))
        scores = torch.zeros((*input_ids.shape, VOCABULARY))
        scores[..., ord("a")] = 100
        return types.SimpleNamespace(logits=scores)

    __call__ = forward

    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        max_new_tokens: int,
        stopping_criteria: Sequence[Any],
        **_: Any,
    ) -> torch.Tensor:
        """Return the sequences, prompts included: [rows, tokens] int64."""
        self._moment()
        self.batches.append(len(input_ids))
        if self.broken:
            raise self.broken
        for row in input_ids.tolist():
            _raise("generate", "".join(map(chr, row)))
        for _number in range(max_new_tokens):
            self._moment()
            more = torch.full((len(input_ids), 1), ord("a"))
            input_ids = torch.cat([input_ids, more], dim=1)
            if all(criterion(input_ids, None).all() for criterion in stopping_criteria):
                break
        return input_ids


def _raise(where: str, text: str, tail: int = 1_000) -> None:
    for words, error in TROUBLE.items():
        if words[-tail:] in text and words.startswith(f"<{where} "):
            raise type(error)(*error.args)  # a fresh one: tracebacks add up in an error
