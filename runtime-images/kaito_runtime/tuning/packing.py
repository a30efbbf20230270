"""Forward passes over several rows that never see each other.

Rows of different lengths are laid end to end, [1, tokens], so that every linear layer works on
real tokens only; attention runs per row, and positions begin anew with each. Models whose attention
can't be replaced get padded batches of similar lengths instead. Both give the same losses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch.nn import functional

from kaito_runtime.tuning.encode import NO_LABEL, Document, filled

ATTENTION = "kaito_documents"
"""The name under which the attention function is registered with transformers."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What one forward pass gives: the summed loss and how many tokens it is the sum over."""

    loss: torch.Tensor
    """Scalar, float32."""
    tokens: int


class Passes(Protocol):
    """Runs documents through a model."""

    def run(self, model: Any, documents: Sequence[Document], limit: int) -> Iterator[Passed]:
        """Yield one summed loss per forward pass of about `limit` tokens."""


def passes_for(model: Any) -> Passes:
    """Choose how to run documents, and switch the model's attention to it."""
    if not can_lay_end_to_end(model):
        return PaddedPasses()
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend_by_document)
    model.set_attn_implementation(ATTENTION)
    return EndToEndPasses()


def can_lay_end_to_end(model: Any) -> bool:
    """Return true if all that mixes positions in the model is an attention we can replace."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and not getattr(model, "_is_stateful", False)
        and kinds <= {"full_attention", "sliding_attention"}
        and not getattr(config, "attn_logit_softcapping", None)
    )


class EndToEndPasses:
    """Rows laid end to end in one sequence."""

    def run(self, model: Any, documents: Sequence[Document], limit: int) -> Iterator[Passed]:
        """Yield the summed loss of each run of documents."""
        lengths = [len(document) for document in documents]
        for rows in filled(range(len(documents)), lengths, limit):
            # Rows of one length side by side share one attention call.
            chosen = sorted((documents[row] for row in rows), key=len)
            device = model.device
            ids = torch.tensor([token for d in chosen for token in d.ids], device=device)
            labels = torch.tensor([label for d in chosen for label in d.labels], device=device)
            positions = torch.cat([torch.arange(len(d), device=device) for d in chosen])
            # labels[i] is predicted from what stands at i - 1; the first of a row never is.
            asked = (labels != NO_LABEL).nonzero().squeeze(1)
            logits = model(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=asked - 1,
                document_lengths=[len(d) for d in chosen],
            ).logits[0]
            yield _summed(logits, labels[asked])


class PaddedPasses:
    """Rows of similar lengths side by side, padded at the right."""

    def run(self, model: Any, documents: Sequence[Document], limit: int) -> Iterator[Passed]:
        """Yield the summed loss of each padded batch."""
        ordered = sorted(documents, key=len, reverse=True)
        while ordered:
            longest = len(ordered[0])
            chosen, ordered = (
                ordered[: max(1, limit // longest)],
                ordered[max(1, limit // longest) :],
            )
            shape = (len(chosen), longest)
            ids = torch.zeros(shape, dtype=torch.long)
            labels = torch.full(shape, NO_LABEL)
            mask = torch.zeros(shape, dtype=torch.long)
            for row, document in enumerate(chosen):
                ids[row, : len(document)] = torch.tensor(document.ids)
                labels[row, : len(document)] = torch.tensor(document.labels)
                mask[row, : len(document)] = 1
            device = model.device
            logits = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).logits
            wanted = labels[:, 1:].to(device)
            asked = wanted != NO_LABEL
            yield _summed(logits[:, :-1][asked], wanted[asked])


def attend_by_document(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    *,
    document_lengths: Sequence[int],
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    `query` is [1, heads, tokens, dim], `key` and `value` [1, key heads, tokens, dim]; returns
    [1, tokens, heads, dim]. `document_lengths` has no default: rows must not mix in silence.
    """
    runs = [(length, len(list(same))) for length, same in groupby(document_lengths)]
    sizes = [length * count for length, count in runs]
    attended = []
    for (length, count), q, k, v in zip(
        runs, query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2), strict=True
    ):
        mask = _window(length, sliding_window, query.device)
        out = functional.scaled_dot_product_attention(
            _rows(q, count),
            _rows(k, count),
            _rows(v, count),
            attn_mask=mask,
            is_causal=mask is None,
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        attended.append(out.transpose(1, 2).reshape(1, length * count, *out.shape[1::2]))
    return torch.cat(attended, dim=1), None


def _rows(states: torch.Tensor, count: int) -> torch.Tensor:
    """Return [1, heads, count * length, dim] as [count, heads, length, dim]."""
    _, heads, tokens, size = states.shape
    return states.reshape(heads, count, tokens // count, size).transpose(0, 1)


def _window(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return the [length, length] mask of a sliding window, where the text is longer than it."""
    if not window or length <= window:
        return None
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)


def _summed(logits: torch.Tensor, labels: torch.Tensor) -> Passed:
    loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
    return Passed(loss, int(labels.numel()))
