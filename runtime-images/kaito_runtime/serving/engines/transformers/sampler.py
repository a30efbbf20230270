"""The next token of each sequence, each by its own settings, in a few operations for all of them.

The order of what changes the scores is that of transformers' generate(): bias, penalties, least length,
temperature, top k, top p, min p. Each row draws with a random number of its own, so that a seed gives the
same answer whoever else is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kaito_runtime.serving.engine import TokenLogprob
from kaito_runtime.serving.engines.detokenizer import Texts
from kaito_runtime.serving.engines.rows import Row
from kaito_runtime.serving.engines.transformers.drawing import groups
from kaito_runtime.serving.engines.transformers.penalties import Penalties, is_penalised

_MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class Sampled:
    """A token, and what was asked to be said of it."""

    token: int
    logprob: float | None = None
    alternatives: Sequence[tuple[int, float]] = ()


class Sampler:
    """Chooses for the rows of one batch; kept as long as the batch has the same rows."""

    def __init__(self, rows: Sequence[Row], device: torch.device):
        self._rows = rows
        self._device = device
        choices = [row.job.choice for row in rows]
        self._bias = self._sparse(
            [
                (n, token, bias)
                for n, choice in enumerate(choices)
                for token, bias in choice.logit_bias.items()
            ]
        )
        self._penalties = Penalties(rows, device) if any(map(is_penalised, choices)) else None
        self._groups = groups(choices, device)
        self._asked = [n for n, choice in enumerate(choices) if choice.logprobs is not None]
        self._short: tuple[tuple[int, ...], tuple[torch.Tensor, ...] | None] = ((), None)

    def choose(self, logits: torch.Tensor) -> list[Sampled]:
        """Choose from [rows, vocabulary] of any number type; one for each row."""
        raw = logits
        scores = logits.float()
        if self._changes_scores():
            scores = self._changed(scores.clone() if scores is logits else scores)
        tokens = scores.argmax(dim=-1)
        for group in self._groups:
            uniforms = torch.tensor(
                [self._rows[n].random.random() for n in group.numbers], device=self._device
            )
            tokens[group.rows] = group.draw(scores[group.rows], uniforms)
        chosen = tokens.tolist()
        if not self._asked:
            return [Sampled(token) for token in chosen]
        return self._with_logprobs(raw, chosen)

    def _changes_scores(self) -> bool:
        return (
            self._bias is not None
            or self._penalties is not None
            or any(row.needs_more or row.structure is not None for row in self._rows)
        )

    def _changed(self, scores: torch.Tensor) -> torch.Tensor:
        if self._bias is not None:
            rows, tokens, values = self._bias
            scores.index_put_((rows, tokens), values, accumulate=True)
        if self._penalties is not None:
            self._penalties.apply(scores)
        short = self._ends_of_short_rows()
        if short is not None:
            scores.index_put_(short[:2], short[2])
        for number, row in enumerate(self._rows):
            if row.structure is not None:
                row.structure.restrict(scores[number])
        return scores

    def _ends_of_short_rows(self) -> tuple[torch.Tensor, ...] | None:
        short = tuple(n for n, row in enumerate(self._rows) if row.needs_more)
        if short != self._short[0]:
            ends = [
                (n, token, _MINUS_INFINITY)
                for n in short
                for token in self._rows[n].job.choice.ends
            ]
            self._short = (short, self._sparse(ends))
        return self._short[1]

    def _sparse(self, items: Sequence[tuple[int, int, float]]) -> tuple[torch.Tensor, ...] | None:
        if not items:
            return None
        rows, tokens, values = zip(*items, strict=True)
        return (
            torch.tensor(rows, device=self._device),
            torch.tensor(tokens, device=self._device),
            torch.tensor(values, device=self._device, dtype=torch.float32),
        )

    def _with_logprobs(self, logits: torch.Tensor, chosen: list[int]) -> list[Sampled]:
        sampled = [Sampled(token) for token in chosen]
        asked = torch.tensor(self._asked, device=self._device)
        logprobs = logits[asked].float().log_softmax(dim=-1)
        most = max(self._rows[n].job.choice.logprobs or 0 for n in self._asked)
        top = logprobs.topk(most, dim=-1) if most else None
        for number, row in enumerate(self._asked):
            count = self._rows[row].job.choice.logprobs or 0
            alternatives: list[tuple[int, float]] = []
            if top is not None and count:
                ids, values = top.indices[number, :count], top.values[number, :count]
                alternatives = list(zip(ids.tolist(), values.tolist(), strict=True))
            sampled[row] = Sampled(chosen[row], float(logprobs[number, chosen[row]]), alternatives)
        return sampled


def described(sampled: Sampled, texts: Texts) -> tuple[TokenLogprob, ...]:
    """Return the log probabilities of a token with the texts of the tokens."""
    if sampled.logprob is None:
        return ()
    alternatives = tuple(
        TokenLogprob(texts(token), token, value) for token, value in sampled.alternatives
    )
    token = sampled.token
    return (TokenLogprob(texts(token), token, sampled.logprob, alternatives),)
