"""From rows to token ids, and from token ids to the batches of the training."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import TrainingArguments
from kaito_runtime.models import tokenization
from kaito_runtime.models.rendering import Message, render
from kaito_runtime.pod.termination import Failure
from kaito_runtime.tuning.examples import Example

NO_LABEL = -100
"""Positions that teach nothing; torch's cross_entropy ignores this index."""


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One row as token ids; `labels[i]` is the token to predict at i from those before it."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Tokenises examples with one tokenizer."""

    def __init__(self, tokenizer: Any, training: TrainingArguments):
        self._tokenizer = tokenizer
        self._training = training

    def tokenize(self, example: Example) -> TokenizedExample:
        """Return the token ids of a row; the end-of-text token closes it."""
        if example.messages:
            return self._conversation(example.messages)
        text = example.prompt + example.completion
        borders = [len(example.prompt)] if example.prompt else []
        learnt = borders if self._training.completion_only_loss else []
        found = tokenization.encode(self._tokenizer, text, borders, add_special_tokens=True)
        return self._labelled(found, [(learnt[0] if learnt else 0, len(text))])

    def _conversation(self, messages: Sequence[Message]) -> TokenizedExample:
        try:
            text = render(self._tokenizer, messages, question=False)
            starts = tokenization.turn_starts(self._tokenizer, messages, text)
            found = tokenization.encode(
                self._tokenizer, text, starts.values(), add_special_tokens=False
            )
            if not self._training.assistant_only_loss:
                return self._labelled(found, [(0, len(text))])
            return self._labelled(found, self._answers(messages, text, starts, found))
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001  templates raise what they like, e.g. on a system message
            raise Failure(
                Reason.DATA_COLUMNS_INVALID,
                f"the model's chat template refuses a row: {error}; roles of that row: "
                f"{', '.join(message['role'] for message in messages)}",
            ) from None

    def _labelled(
        self, found: tokenization.Tokens, learnt: Sequence[tokenization.Span]
    ) -> TokenizedExample:
        ids = list(found.ids)
        end = self._tokenizer.eos_token_id
        labels = [
            token if any(start < right and left < stop for start, stop in learnt) else NO_LABEL
            for token, (left, right) in zip(ids, found.spans, strict=True)
        ]
        if end is not None and (not ids or ids[-1] != end):
            ids.append(end)
            labels.append(end)
        if labels:
            labels[0] = NO_LABEL  # nothing comes before it
        limit = self._training.max_length
        return TokenizedExample(ids[:limit], labels[:limit])

    def _answers(
        self,
        messages: Sequence[Message],
        text: str,
        starts: Mapping[int, int],
        found: tokenization.Tokens,
    ) -> list[tokenization.Span]:
        """Return the characters the assistant wrote, with what the template closes them with."""
        spans = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = starts.get(number)
            if start is None and number == 0:
                start = max(0, text.find(message["content"]))
            if start is None:
                raise Failure(
                    Reason.CONFIG_INVALID,
                    "training_config.yaml: `TrainingArguments.assistant_only_loss` is not supported "
                    "with this model: its chat template writes earlier messages differently; "
                    "write false",
                )
            until = render(self._tokenizer, messages[: number + 1], question=False)
            stop = len(until) if text.startswith(until) else _token_end(found, _common(text, until))
            spans.append((start, stop))
        return spans


def batches(
    lengths: Sequence[int], training: TrainingArguments, random_order: random.Random | None
) -> list[list[int]]:
    """Return the batches of one epoch, one for each optimizer step, as row numbers.

    A batch has `per_device_train_batch_size * gradient_accumulation_steps` rows; with `packing` it
    has that many sequences of `max_length` tokens, filled with rows in order.
    """
    order = list(range(len(lengths)))
    if random_order:
        random_order.shuffle(order)
    count = training.per_device_train_batch_size * training.gradient_accumulation_steps
    units = [[row] for row in order]
    if training.packing:
        units = list(pack(order, lengths, training.max_length))
    starts = [*range(0, len(units), count), len(units)]
    return [list(chain.from_iterable(units[start:stop])) for start, stop in pairwise(starts)]


def pack(rows: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Yield packs of rows that have at most `limit` tokens together; a longer row stands alone."""
    packed: list[int] = []
    size = 0
    for row in rows:
        if packed and size + lengths[row] > limit:
            yield packed
            packed, size = [], 0
        packed.append(row)
        size += lengths[row]
    if packed:
        yield packed


def _token_end(found: tokenization.Tokens, stop: int) -> int:
    """Return the end of the last token up to a character: two marks may begin alike."""
    return max((right for _, right in found.spans if right <= stop), default=0)


def _common(left: str, right: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
