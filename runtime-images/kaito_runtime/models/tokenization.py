"""From text to token ids, so that the trainer and the server make the same ids of the same question.

Tokenizers merge across the border between a question and its answer: of "is:" and " red" a trainer
that encodes the whole row may make "is", ": red", and the server, which has the question alone,
"is", ":". The model would then be asked with a token that it was never taught to go on from.
So each question is encoded by itself, by both, and the answer is what is left of the whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaito_runtime.models.rendering import Message, render

Span = tuple[int, int]
"""Characters of a text: from, and up to but without."""

_RESYNC_TOKENS = 16
"""How many tokens after a border a merge may reach over before the rest is encoded on its own."""
_ANCHORS = ("\n", ".", "a", " ")
"""Characters to encode the rest of a merged token behind: some tokenizers put a space before the
first word of a text, which the middle of a text does not have."""


@dataclass
class Tokens:
    """Token ids with the characters of the text that each stands for."""

    ids: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)


def encode(
    tokenizer: Any, text: str, borders: Iterable[int] = (), *, add_special_tokens: bool
) -> Tokens:
    """Return the tokens of a text, no token across a border (a position in its characters).

    What stands before a border depends on nothing after it. Special tokens that the tokenizer puts
    before the text stay; one that it puts after it, an end of text, is left out.
    """
    found = Tokens()
    done = 0
    for border in [*(b for b in sorted(set(borders)) if 0 < b < len(text)), len(text)]:
        whole = _encode(tokenizer, text[:border], add_special_tokens=add_special_tokens)
        found = _continued(tokenizer, found, whole, text[:border], done) if done else whole
        done = border
    return found


def question_of_messages(
    tokenizer: Any, messages: Sequence[Message], **arguments: Any
) -> list[int]:
    """Return the ids of a conversation up to where the assistant begins to write.

    `arguments` are for the template; see `render`.
    """
    text = render(tokenizer, messages, question=True, **arguments)
    starts = turn_starts(tokenizer, messages, text, **arguments).values()
    return encode(tokenizer, text, starts, add_special_tokens=False).ids


def question_of_text(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text that the model is to continue."""
    return encode(tokenizer, text, add_special_tokens=True).ids


def turn_starts(
    tokenizer: Any, messages: Sequence[Message], text: str, **arguments: Any
) -> dict[int, int]:
    """Return where in the rendered text the assistant's messages begin, by their number.

    A template that writes earlier messages differently in a longer conversation has no such place
    for them; those are left out, and so is a first message, which answers nothing.
    """
    questions = {
        number: render(tokenizer, messages[:number], question=True, **arguments)
        for number, message in enumerate(messages)
        if number and message["role"] == "assistant"
    }
    return {
        number: len(question) for number, question in questions.items() if text.startswith(question)
    }


def _encode(tokenizer: Any, text: str, *, add_special_tokens: bool) -> Tokens:
    encoded = tokenizer(
        text, add_special_tokens=add_special_tokens, return_offsets_mapping=tokenizer.is_fast
    )
    ids = list(encoded["input_ids"])
    # A tokenizer without offsets serves, and can't train: the whole text has one border, its end.
    spans = [tuple(span) for span in encoded.get("offset_mapping", [(0, len(text))] * len(ids))]
    end = tokenizer.eos_token_id
    if add_special_tokens and ids and ids[-1] == end:
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not bare or bare[-1] != end:  # the tokenizer's own: it would end the question
            ids.pop()
            spans.pop()
    return Tokens(ids, spans)


def _continued(tokenizer: Any, before: Tokens, whole: Tokens, text: str, border: int) -> Tokens:
    """Return the tokens `before` a border and, of the whole text, those after it."""
    count = len(before.ids)
    if whole.ids[:count] == before.ids:
        return whole
    wanted = _decode(tokenizer, whole.ids)
    for pieces, rest in _ways_on(tokenizer, whole, text, border):
        ids = [*before.ids, *pieces, *whole.ids[rest:]]
        if _decode(tokenizer, ids) == wanted:
            until = whole.spans[rest][0] if rest < len(whole.ids) else len(text)
            spans = [*before.spans, *[(border, until)] * len(pieces), *whole.spans[rest:]]
            return Tokens(ids, spans)
    # A decoder that does not give the text back proves nothing: no text may be lost, at least.
    alone = _encode(tokenizer, text[border:], add_special_tokens=False)
    spans = [(left + border, right + border) for left, right in alone.spans]
    return Tokens([*before.ids, *alone.ids], [*before.spans, *spans])


def _ways_on(
    tokenizer: Any, whole: Tokens, text: str, border: int
) -> Iterator[tuple[list[int], int]]:
    """Yield ids for what a merged token has behind the border, and the number of the token after it."""
    first = next((n for n, span in enumerate(whole.spans) if span[1] > border), len(whole.ids))
    for rest in range(first, min(len(whole.ids), first + _RESYNC_TOKENS) + 1):
        begins = whole.spans[rest][0] if rest < len(whole.ids) else len(text)
        # Some tokenizers count the space before a word to its token, and not to its characters.
        for until in sorted({begins, begins - 1} if begins > border else {border}, reverse=True):
            for ids in _encodings(tokenizer, text[border:until]):
                yield ids, rest
    for ids in _encodings(tokenizer, text[border:]):
        yield ids, len(whole.ids)


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _encodings(tokenizer: Any, text: str) -> Iterator[list[int]]:
    if not text:
        yield []
        return
    yield list(tokenizer(text, add_special_tokens=False)["input_ids"])
    for anchor in _ANCHORS:
        alone = list(tokenizer(anchor, add_special_tokens=False)["input_ids"])
        both = list(tokenizer(anchor + text, add_special_tokens=False)["input_ids"])
        if both[: len(alone)] == alone:
            yield both[len(alone) :]
