"""From rows to token ids, and from token ids to the steps and passes of the training."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from kaito_runtime.config import TrainingArguments
from kaito_runtime.examples import Example, Message
from kaito_runtime.outcome import Failure, Reason

NO_LABEL = -100
"""Positions that teach nothing; torch's cross_entropy ignores this index."""


@dataclass(frozen=True, slots=True)
class Document:
    """One row as token ids; `labels[i]` is the token to predict at i from those before it."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Turns examples into documents with one tokenizer."""

    def __init__(self, tokenizer: Any, training: TrainingArguments):
        self._tokenizer = tokenizer
        self._training = training

    def document(self, example: Example) -> Document:
        """Return the token ids of a row; the end-of-text token closes it."""
        if example.messages:
            text = self._render(example.messages)
            only = self._training.assistant_only_loss
            spans = self._assistant_spans(example.messages, text) if only else [(0, len(text))]
        else:
            text = example.prompt + example.completion
            is_split = bool(example.prompt) and self._training.completion_only_loss
            spans = [(len(example.prompt) if is_split else 0, len(text))]
        return self._labelled(text, spans, has_special=bool(example.messages))

    def _labelled(self, text: str, spans: list[tuple[int, int]], has_special: bool) -> Document:
        encoded = self._tokenizer(
            text, add_special_tokens=not has_special, return_offsets_mapping=True
        )
        ids = list(encoded["input_ids"])
        end = self._tokenizer.eos_token_id
        is_closed = bool(ids) and ids[-1] == end
        labels = [
            token if any(start < right and left < stop for start, stop in spans) else NO_LABEL
            for token, (left, right) in zip(ids, encoded["offset_mapping"], strict=True)
        ]
        if not is_closed and end is not None:
            ids.append(end)
            labels.append(end)
        if labels:
            labels[0] = NO_LABEL  # nothing comes before it
        limit = self._training.max_length
        return Document(ids[:limit], labels[:limit])

    def _render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # templates raise what they like, e.g. on a system message
            raise Failure(
                Reason.DATA_COLUMNS_INVALID,
                f"the model's chat template refuses a row: {error}; roles of that row: "
                f"{', '.join(message['role'] for message in messages)}",
            ) from None
        return str(text)

    def _assistant_spans(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Return the characters the assistant wrote, with what the template closes them with."""
        spans = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:number], prompt=True)
            until = self._render(messages[: number + 1])
            if not text.startswith(before):
                raise Failure(
                    Reason.CONFIG_INVALID,
                    "training_config.yaml: `TrainingArguments.assistant_only_loss` can't be used "
                    "with this model: its chat template writes earlier messages differently; "
                    "write false",
                )
            is_prefix = text.startswith(until)
            spans.append((len(before), len(until) if is_prefix else _common(text, until)))
        return spans


def steps_of(
    lengths: Sequence[int], training: TrainingArguments, random_order: random.Random | None
) -> list[list[int]]:
    """Return one epoch's optimizer steps, each a list of row numbers.

    A step has `per_device_train_batch_size * gradient_accumulation_steps` rows; with `packing` it
    has that many sequences of `max_length` tokens, filled with rows in order.
    """
    order = list(range(len(lengths)))
    if random_order:
        random_order.shuffle(order)
    count = training.per_device_train_batch_size * training.gradient_accumulation_steps
    units = [[row] for row in order]
    if training.packing:
        units = list(filled(order, lengths, training.max_length))
    starts = [*range(0, len(units), count), len(units)]
    return [list(chain.from_iterable(units[start:stop])) for start, stop in pairwise(starts)]


def filled(rows: Sequence[int], lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Yield runs of rows that have at most `limit` tokens together; a longer row stands alone."""
    run: list[int] = []
    size = 0
    for row in rows:
        if run and size + lengths[row] > limit:
            yield run
            run, size = [], 0
        run.append(row)
        size += lengths[row]
    if run:
        yield run


def _common(left: str, right: str) -> int:
    """Return the length of the common beginning of two texts."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
