"""Forward passes over several rows that never see each other: padding-free, or padded.

Padding-free packing joins rows of different lengths to one sequence, [1, tokens], so that every linear
layer works on real tokens only; attention runs per row, and positions begin anew with each. Models whose
attention can't be replaced get padded batches of similar lengths instead. Both give the same losses.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch
from torch.nn import functional

from kaito_runtime.models.gpus import is_spread
from kaito_runtime.tuning.encode import NO_LABEL, TokenizedExample, pack

ATTENTION = "kaito_padding_free"
"""The name under which the attention function is registered with transformers."""


@dataclass(frozen=True, slots=True)
class SummedLoss:
    """The loss of one forward pass, and how many tokens it is the sum over."""

    loss: torch.Tensor
    """Scalar, float32."""
    tokens: int


class ForwardPass(Protocol):
    """Runs tokenised rows through a model."""

    @property
    def model(self) -> Any:
        """The model."""

    def losses(self, examples: Sequence[TokenizedExample], limit: int) -> Iterator[SummedLoss]:
        """Yield the loss of each pass of about `limit` tokens."""


def forward_pass(model: Any) -> ForwardPass:
    """Choose how to run rows through a model, and switch its attention to it."""
    if not supports_padding_free(model):
        return PaddedForward(model)
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, padding_free_attention)
    model.set_attn_implementation(ATTENTION)
    return PaddingFreeForward(model)


def supports_padding_free(model: Any) -> bool:
    """Return true if all that mixes positions in the model is an attention we can replace."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and not getattr(model, "_is_stateful", False)
        and kinds <= {"full_attention", "sliding_attention"}
        and not getattr(config, "attn_logit_softcapping", None)
    )


@dataclass(frozen=True, slots=True)
class PaddingFreeForward:
    """Rows joined to one sequence."""

    model: Any

    def losses(self, examples: Sequence[TokenizedExample], limit: int) -> Iterator[SummedLoss]:
        """Yield the summed loss of each pack of rows."""
        lengths = [len(example) for example in examples]
        device = self.model.device
        # Of layers on several devices, the last one is indexed: an index on the CPU is for each.
        indices = torch.device("cpu") if is_spread(self.model) else device
        for rows in pack(range(len(examples)), lengths, limit):
            # Rows of one length side by side share one attention call.
            packed = sorted((examples[row] for row in rows), key=len)
            ids = torch.tensor([token for each in packed for token in each.ids], device=device)
            labels = [label for each in packed for label in each.labels]
            positions = torch.cat([torch.arange(len(each), device=device) for each in packed])
            # labels[i] is predicted from what stands at i - 1; the first of a row never is.
            asked = [place for place, label in enumerate(labels) if label != NO_LABEL]
            logits = self.model(
                input_ids=ids[None],
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=torch.tensor(asked, device=indices) - 1,
                sequence_lengths=[len(each) for each in packed],
            ).logits[0]
            learnt = torch.tensor([labels[place] for place in asked], device=device)
            yield _summed(logits, learnt)


@dataclass(frozen=True, slots=True)
class PaddedForward:
    """Rows of similar lengths side by side, padded at the right."""

    model: Any

    def losses(self, examples: Sequence[TokenizedExample], limit: int) -> Iterator[SummedLoss]:
        """Yield the summed loss of each padded batch."""
        ordered = sorted(examples, key=len, reverse=True)
        while ordered:
            longest = len(ordered[0])
            count = max(1, limit // longest)
            batch, ordered = ordered[:count], ordered[count:]
            shape = (len(batch), longest)
            ids = torch.zeros(shape, dtype=torch.long)
            mask = torch.zeros(shape, dtype=torch.long)
            for row, example in enumerate(batch):
                ids[row, : len(example)] = torch.tensor(example.ids)
                mask[row, : len(example)] = 1
            asked = [
                (row, place, label)
                for row, example in enumerate(batch)
                for place, label in enumerate(example.labels[1:])
                if label != NO_LABEL
            ]
            device = self.model.device
            logits = self.model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).logits
            rows, places, labels = (
                torch.tensor(asked, dtype=torch.long, device=device).reshape(-1, 3).unbind(1)
            )
            yield _summed(logits[rows, places], labels)


def padding_free_attention(  # noqa: PLR0913  transformers' AttentionInterface
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _attention_mask: torch.Tensor | None,
    *,
    sequence_lengths: Sequence[int],
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row.

    `query` is [1, heads, tokens, dim], `key` and `value` [1, key heads, tokens, dim]; returns
    [1, tokens, heads, dim]. `sequence_lengths` has no default: rows must not mix in silence.
    """
    runs = [(length, len(list(same))) for length, same in groupby(sequence_lengths)]
    sizes = [length * count for length, count in runs]
    attended = []
    split = (torch.split(each, sizes, 2) for each in (query, key, value))
    for (length, count), q, k, v in zip(runs, *split, strict=True):
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


def _summed(logits: torch.Tensor, labels: torch.Tensor) -> SummedLoss:
    loss = functional.cross_entropy(logits.float(), labels, reduction="sum")
    return SummedLoss(loss, int(labels.numel()))
