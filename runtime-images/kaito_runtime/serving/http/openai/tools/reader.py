"""Separates text and function calls in an answer that comes in pieces."""

import re
import string
from collections.abc import Generator, Iterator

from kaito_runtime.serving.http.openai.tools.calls import (
    ArgumentsReader,
    CallReader,
    CallStart,
    Content,
    Event,
)
from kaito_runtime.serving.http.openai.tools.formats import ToolFormat

_NAME_BEFORE = re.compile(r"([\w.-]{1,64})(?:\[CALL_ID\]\w{0,64})?(?:\[ARGS\])?\s*(?=\{)")
_COULD_BE_NAME = re.compile(r"[\w.-]{0,64}(?:\[[\w\]\[]{0,90})?\s{0,20}\Z")

_Steps = Generator[Event | None, None, None]
"""Events, and None where more of the answer is needed."""


class ToolReader:
    """Reads one answer; what only looks like a call is handed on as text.

    White space before and behind calls is not handed on.
    """

    def __init__(self, form: ToolFormat, names: frozenset[str]):
        self._form = form
        self._names = names if form.is_unmarked else None
        """A form without a mark is told from other JSON by the functions that were offered."""
        self._buffer = ""
        self._is_ended = False
        self._has_calls = False
        self._spaces = ""
        """White space that is text only if more text follows."""
        self._steps = self._unmarked() if form.is_unmarked else self._marked()

    def feed(self, piece: str) -> list[Event]:
        """Return what a piece completes."""
        self._buffer += piece
        return list(self._advance())

    def finish(self) -> list[Event]:
        """Return what was held back, once the answer has ended."""
        self._is_ended = True
        return list(self._advance())

    def _advance(self) -> Iterator[Event]:
        for event in self._steps:
            if event is None:
                return
            if isinstance(event, CallStart):
                self._has_calls, self._spaces = True, ""
            yield event

    def _marked(self) -> _Steps:
        opening = self._form.opening
        while True:
            while (at := self._buffer.find(opening)) < 0 and not self._is_ended:
                yield from self._text(self._taken(len(self._buffer) - self._held(opening)))
                yield None
            if at < 0:
                break
            yield from self._text(self._taken(at))
            self._taken(len(opening))
            yield from self._calls(opening)
        yield from self._last_text()

    def _unmarked(self) -> _Steps:
        opening = self._form.opening
        while not self._is_ended and opening.startswith(self._buffer.lstrip()[: len(opening)]):
            if len(self._buffer.lstrip()) >= len(opening):
                break
            yield None
        spaces = self._taken(len(self._buffer) - len(self._buffer.lstrip()))
        if self._buffer.startswith(opening):
            spaces += self._taken(len(opening))
        yield from self._calls(spaces)
        while not self._is_ended:
            yield from self._text(self._taken(len(self._buffer)))
            yield None
        yield from self._last_text()

    def _calls(self, before: str) -> _Steps:
        """Read calls; what was taken off `before` them is text if none follows."""
        form, is_call = self._form, False
        while True:
            before += yield from self._skipped(string.whitespace)
            yield from self._until_known(form.opening)
            if self._buffer.startswith(form.opening):  # once more
                before += self._taken(len(form.opening))
                continue
            before += yield from self._skipped(form.separators + string.whitespace)
            name = yield from self._name_before()
            if name is not None:
                yield CallStart(name)
                is_call = yield from self._call(ArgumentsReader(), "")
            elif self._buffer.startswith("{"):
                is_call = yield from self._call(CallReader(self._names), before)
            else:
                yield from self._text("" if is_call else before)
                return
            if not is_call:
                return
            if not form.separators:
                yield from self._closed()
                return
            before = ""

    def _closed(self) -> _Steps:
        """Take off what stands behind a call."""
        spaces = yield from self._skipped(string.whitespace)
        yield from self._until_known(self._form.closing)
        if self._buffer.startswith(self._form.closing):
            self._taken(len(self._form.closing))
        else:
            yield from self._text(spaces)

    def _call(
        self, reader: CallReader | ArgumentsReader, before: str
    ) -> Generator[Event | None, None, bool]:
        """Read an object; returns whether it is a call, and hands it on as text if it is none."""
        while True:
            yield from reader.feed(self._taken(len(self._buffer)))
            if reader.is_done or self._is_ended:
                break
            yield None
        self._buffer = reader.rest + self._buffer
        if not reader.has_begun:
            yield from self._text(before + reader.text)
        return reader.has_begun

    def _name_before(self) -> Generator[None, None, str | None]:
        if not self._form.has_names_before:
            return None
        while (found := _NAME_BEFORE.match(self._buffer)) is None:
            if self._is_ended or not _COULD_BE_NAME.match(self._buffer):
                return None
            yield None
        self._taken(found.end())
        return found[1]

    def _skipped(self, characters: str) -> Generator[None, None, str]:
        """Take characters off until another one comes."""
        skipped = ""
        while True:
            skipped += self._taken(len(self._buffer) - len(self._buffer.lstrip(characters)))
            if self._buffer or self._is_ended:
                return skipped
            yield None

    def _until_known(self, text: str) -> Generator[None, None, None]:
        """Wait until it is known whether the buffer begins with a text."""
        while len(self._buffer) < len(text) and text.startswith(self._buffer):
            if self._is_ended:
                return
            yield None

    def _taken(self, count: int) -> str:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _held(self, opening: str) -> int:
        """How many characters at the end of the buffer may be the beginning of the opening."""
        longest = min(len(self._buffer), len(opening) - 1)
        return next((n for n in range(longest, 0, -1) if opening.startswith(self._buffer[-n:])), 0)

    def _text(self, text: str) -> Iterator[Event]:
        kept = text.rstrip()
        if kept:
            yield Content(self._spaces + kept)
            self._spaces = ""
        self._spaces += text[len(kept) :]

    def _last_text(self) -> Iterator[Event]:
        yield from self._text(self._taken(len(self._buffer)))
        if self._spaces and not self._has_calls:
            yield Content(self._spaces)
