"""Drawing a token at random: rows of one kind together, since the kinds differ in what they cost."""

from collections.abc import Sequence

import torch

from kaito_runtime.serving.engines.rows import Choice

LARGEST_SCORE = 1e4
"""Far above any model's; divided by the lowest temperature it is still a finite float32."""
_SLICE = 1024
"""Likeliest tokens that are looked at before a whole vocabulary is sorted."""
_MINUS_INFINITY = float("-inf")
_EVERY = 1 << 30
"""More tokens than a vocabulary has."""


class DrawingGroup:
    """Rows that draw their token, in one of three ways that differ in their cost."""

    def __init__(self, numbers: Sequence[int], choices: Sequence[Choice], device: torch.device):
        self.numbers = numbers
        self.rows = torch.tensor(numbers, device=device)
        mine = [choices[n] for n in numbers]

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, device=device)[:, None]

        self._temperature = column([choice.temperature for choice in mine])
        self._top_p = column([choice.top_p for choice in mine])
        self._min_p = column([choice.min_p for choice in mine])
        self._top_k = column([float(choice.top_k or _EVERY) for choice in mine])
        # A limit beyond the slice needs all scores in order: its probabilities are among so many.
        self._most = _EVERY if any(choice.top_k > _SLICE for choice in mine) else _SLICE
        self._is_bounded = all(0 < choice.top_k <= _SLICE for choice in mine)
        if self._is_bounded:
            self._most = max(choice.top_k for choice in mine)
        self._is_filtered = any(map(_is_filtered, mine))

    def draw(self, scores: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Draw from [rows, vocabulary] float32 with [rows] numbers from 0 to 1; returns [rows] int64."""
        scores = scores / self._temperature
        vocabulary = scores.shape[1]
        if not self._is_filtered:
            probabilities = _finite(scores).softmax(dim=-1)
            return _drawn(probabilities, uniforms)
        size = min(self._most, vocabulary)
        values, ids = self._likeliest(scores, size)
        total = None if self._is_bounded else _finite(scores).logsumexp(dim=-1, keepdim=True)
        kept = self._kept(values, total)
        if size < vocabulary and not self._is_bounded and bool(kept[:, -1].any()):
            # The slice may not hold all that is to be drawn from.
            values, ids = self._likeliest(scores, vocabulary)
            kept = self._kept(values, total)
        values = _finite(values).masked_fill(~kept, _MINUS_INFINITY)
        place = _drawn(values.softmax(dim=-1), uniforms)
        return ids.gather(1, place[:, None])[:, 0]

    def _likeliest(self, scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        if count < scores.shape[1]:
            values, ids = scores.topk(count, dim=-1)
        else:
            values, ids = scores.sort(dim=-1, descending=True)
        return values, ids

    def _kept(self, values: torch.Tensor, total: torch.Tensor | None) -> torch.Tensor:
        """Return which of the likeliest tokens stay, [rows, tokens] bool; values fall from left to right.

        `total` is the logarithm of what all scores of a row sum up to, [rows, 1]; it is not needed where
        every row has a limit within the slice.
        """
        values = _finite(values)
        places = torch.arange(values.shape[1], device=values.device)
        kept = places < self._top_k
        inside = values.masked_fill(~kept, _MINUS_INFINITY).logsumexp(dim=-1, keepdim=True)
        if total is not None:
            inside = torch.where(self._top_k < _EVERY, inside, total)
        probabilities = (values - inside).exp() * kept
        before = probabilities.cumsum(dim=-1) - probabilities
        kept &= (before < self._top_p) | (places == 0)
        return kept & (probabilities >= self._min_p * probabilities[:, :1])


def groups(choices: Sequence[Choice], device: torch.device) -> list[DrawingGroup]:
    """Return the rows that draw, by what drawing costs them."""
    drawing = [n for n, choice in enumerate(choices) if choice.temperature > 0]
    plain = [n for n in drawing if not _is_filtered(choices[n])]
    limited = [n for n in drawing if 0 < choices[n].top_k <= _SLICE]
    others = [n for n in drawing if n not in set(plain) | set(limited)]
    return [
        DrawingGroup(numbers, choices, device) for numbers in (plain, limited, others) if numbers
    ]


def _is_filtered(choice: Choice) -> bool:
    return bool(choice.top_k) or choice.top_p < 1 or choice.min_p > 0


def _finite(scores: torch.Tensor) -> torch.Tensor:
    """Return the scores without NaN: sampling from what is no number is the end of a GPU."""
    return scores.nan_to_num(nan=-LARGEST_SCORE, posinf=LARGEST_SCORE, neginf=_MINUS_INFINITY)


def _drawn(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Return the place in [rows, tokens] where the sum of the probabilities passes the number."""
    sums = probabilities.cumsum(dim=-1)
    total = sums[:, -1:]
    below = torch.nextafter(total, torch.zeros_like(total))  # else rounding could pass the last one
    wanted = torch.minimum(uniforms.to(sums.dtype)[:, None] * total, below)
    return (sums <= wanted).sum(dim=-1).clamp(max=probabilities.shape[1] - 1)
