"""Repetition, presence and frequency penalties over what each row has already."""

from collections.abc import Sequence

import torch

from kaito_runtime.serving.engines.rows import Choice, Row

_MARGIN = 64
"""Steps until the buffer of the tokens is made anew."""


def is_penalised(choice: Choice) -> bool:
    """Whether a choice has any of the penalties."""
    return (
        choice.repetition_penalty != 1
        or choice.presence_penalty != 0
        or choice.frequency_penalty != 0
    )


class Penalties:
    """Changes the scores of a batch whose rows stay the same."""

    def __init__(self, rows: Sequence[Row], device: torch.device, *, repetition: bool = True):
        """Take the rows; without `repetition` somebody else applies that one."""
        self._rows = rows
        choices = [row.job.choice for row in rows]

        def column(values: Sequence[float]) -> torch.Tensor:
            return torch.tensor(values, device=device)[:, None]

        self._repetition = column([c.repetition_penalty if repetition else 1.0 for c in choices])
        self._presence = column([choice.presence_penalty for choice in choices])
        self._frequency = column([choice.frequency_penalty for choice in choices])
        self._has_answers = any(c.presence_penalty or c.frequency_penalty for c in choices)
        self._prompts = torch.tensor([len(row.job.ids) for row in rows], device=device)[:, None]
        self._numbers = torch.arange(len(rows), device=device)
        self._device = device
        self._ids = torch.zeros((len(rows), 0), dtype=torch.long, device=device)
        """[rows, tokens]: the tokens of each row, and its first one again where it has no more."""

    def apply(self, scores: torch.Tensor) -> None:
        """Change [rows, vocabulary] float32 in place."""
        ids, lengths = self._tokens()
        found = scores.gather(1, ids)
        # A token that is there twice is written twice, with the same value.
        repeated = torch.where(found < 0, found * self._repetition, found / self._repetition)
        scores.scatter_(1, ids, repeated)
        if self._has_answers:
            self._apply_to_answers(scores, ids, lengths)

    def _apply_to_answers(
        self, scores: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor
    ) -> None:
        places = torch.arange(ids.shape[1], device=self._device)
        counted = ((places >= self._prompts) & (places < lengths)).float()
        last = ids.gather(1, lengths - 1)
        answers = torch.where(counted.bool(), ids, last)
        has_answer = (lengths > self._prompts).float()
        found = scores.gather(1, answers)
        scores.scatter_(1, answers, found - self._presence * has_answer)
        scores.scatter_add_(1, answers, -self._frequency * counted)

    def _tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens, [rows, tokens] int64, and how many each row has, [rows, 1] int64."""
        counts = [len(row.tokens) for row in self._rows]
        width = max(counts)
        lengths = torch.tensor(counts, device=self._device)[:, None]
        if width > self._ids.shape[1]:
            room = width + _MARGIN
            padded = [row.tokens + row.tokens[:1] * (room - len(row.tokens)) for row in self._rows]
            self._ids = torch.tensor(padded, device=self._device)
        else:
            last = torch.tensor([row.tokens[-1] for row in self._rows], device=self._device)
            self._ids[self._numbers, lengths[:, 0] - 1] = last
        return self._ids[:, :width], lengths
