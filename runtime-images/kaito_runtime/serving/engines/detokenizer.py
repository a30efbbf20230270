"""From token ids to text, token by token, and the texts at which an answer ends."""

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\ufffd"
"""What decoders write for the bytes of a character that is not complete."""
_PRIMING_TOKENS = 6
"""Tokens before the answer that are decoded with it: a space between two words belongs to either."""
_LONGEST_CHARACTER_TOKENS = 8
"""After so many tokens what is not a character by now is none."""


class Detokenizer:
    """The text of one sequence, in pieces; what could change with the next token is held back.

    The tokens since the last piece are decoded together with those of the piece before it, and what the
    latter alone give is left out. Decoding the whole answer for each token would cost its square.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], *, skip_special_tokens: bool):
        self._decode = _decoder(tokenizer, skip_special_tokens=skip_special_tokens)
        self._ids = list(prompt[-_PRIMING_TOKENS:])
        self._start, self._read = 0, len(self._ids)

    def hold(self, token: int) -> None:
        """Take a token whose text nobody needs yet."""
        self._ids.append(token)

    def add(self, token: int) -> str:
        """Return the text that a token completes; empty while a character is not complete."""
        self._ids.append(token)
        before, text = self._texts()
        is_unfinished = text.endswith(UNFINISHED)
        if is_unfinished and len(self._ids) - self._read < _LONGEST_CHARACTER_TOKENS:
            return ""
        return self._piece(before, text)

    def flush(self) -> str:
        """Return what was held back, at the end of a sequence."""
        return self._piece(*self._texts())

    def _texts(self) -> tuple[str, str]:
        return self._decode(self._ids[self._start : self._read]), self._decode(
            self._ids[self._start :]
        )

    def _piece(self, before: str, text: str) -> str:
        del self._ids[: self._start]
        self._start, self._read = self._read - self._start, len(self._ids)
        return text[len(before) :]


class StopTexts:
    """Finds the first of some texts in a text that grows, and holds back what may begin one."""

    def __init__(self, texts: Sequence[str], *, include: bool):
        self._texts = texts
        self._include = include
        self._held = ""
        self.has_ended = False
        """Whether one of the texts came."""

    def add(self, piece: str) -> tuple[str, bool]:
        """Return the text that may be shown, and whether the answer ends here."""
        if not self._texts:
            return piece, False
        text = self._held + piece
        found = [(at, len(stop)) for stop in self._texts if (at := text.find(stop)) >= 0]
        if found:
            self._held = ""
            self.has_ended = True
            # As transformers' stop_strings, the token that completed the text stays whole.
            return (text if self._include else text[: min(found)[0]]), True
        kept = max(_overlap(text, stop) for stop in self._texts)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], False

    def flush(self) -> str:
        """Return what was held back, when the answer ends for another reason."""
        text, self._held = self._held, ""
        return text


class Texts:
    """The text of a single token."""

    def __init__(self, tokenizer: object):
        self._tokenizer = tokenizer

    def __call__(self, token: int) -> str:
        """Return it, special tokens too."""
        return str(self._tokenizer.decode([token]))  # type: ignore[attr-defined]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of the text that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


def _decoder(tokenizer: Any, *, skip_special_tokens: bool) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # without the checks of the Python layer, which cost more than decoding
        return lambda ids: backend.decode(ids, skip_special_tokens=skip_special_tokens)
    return lambda ids: str(
        tokenizer.decode(
            ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
    )
