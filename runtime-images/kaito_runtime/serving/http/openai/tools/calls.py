"""Function calls written as JSON, read while they come.

A call is `{"name": ..., "arguments": {...}}` (or `parameters`). Its arguments are handed on as the
model writes them, so that what is streamed, joined, is what is not streamed.
"""

import json
import re
from dataclasses import dataclass

_BEGINNING = re.compile(
    r"""\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)"""
)
"""Up to arguments that can be handed on while they come."""


@dataclass(frozen=True, slots=True)
class Content:
    """Text that is no call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call of a function begins."""

    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the arguments of the call that began last: JSON text."""

    text: str


Event = Content | CallStart | Arguments


class ObjectEnd:
    """Finds where a JSON object ends whose text comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_text = False
        self._is_escaped = False

    def find(self, piece: str) -> int:
        """Return the index behind the object's last bracket, or -1 if it goes on."""
        for at, character in enumerate(piece):
            if self._is_escaped:
                self._is_escaped = False
            elif self._is_text:
                self._is_escaped = character == "\\"
                self._is_text = character != '"'
            elif character == '"':
                self._is_text = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return -1


class CallReader:
    """Reads the object of one call; `rest` is what came behind it once `is_done`."""

    def __init__(self, names: frozenset[str] | None = None):
        """Take the names that make an object a call; None: any."""
        self.is_done = False
        self.has_begun = False
        """It is a call, whose name has been told."""
        self.text = ""
        """All of the object until now."""
        self.rest = ""
        self._names = names
        self._end = ObjectEnd()
        self._arguments = ArgumentsReader()

    def feed(self, piece: str) -> list[Event]:
        """Take the next piece; the first begins with the bracket of the object."""
        end = self._end.find(piece)
        self.is_done = end >= 0
        if self.is_done:
            piece, self.rest = piece[:end], piece[end:]
        self.text += piece
        if self.has_begun:
            return self._arguments.feed(piece)
        beginning = _BEGINNING.match(self.text)
        if beginning and self._is_offered(name := json.loads(beginning[1], strict=False)):
            self.has_begun = True
            return [CallStart(name), *self._arguments.feed(self.text[beginning.end() :])]
        return self._whole() if self.is_done else []

    def _whole(self) -> list[Event]:
        """Return the call of an object whose keys come in another order; nothing if it is no call."""
        try:
            call = json.loads(self.text, strict=False)
        except (ValueError, RecursionError):
            return []
        name = call.get("name")
        if not isinstance(name, str) or not self._is_offered(name):
            return []
        self.has_begun = True
        arguments = call.get("arguments", call.get("parameters"))
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
        return [CallStart(name), Arguments(arguments)]

    def _is_offered(self, name: str) -> bool:
        return self._names is None or name in self._names


class ArgumentsReader:
    """Reads the object of arguments alone, and hands it on as it comes."""

    has_begun = True
    text = ""

    def __init__(self) -> None:
        self.is_done = False
        self.rest = ""
        self._end = ObjectEnd()

    def feed(self, piece: str) -> list[Event]:
        """Take the next piece."""
        if self.is_done:
            return []
        end = self._end.find(piece)
        self.is_done = end >= 0
        if self.is_done:
            piece, self.rest = piece[:end], piece[end:]
        return [Arguments(piece)] if piece else []
