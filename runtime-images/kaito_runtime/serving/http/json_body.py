"""The JSON of a body, and what to say of one that is none."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NESTING_LIMIT = 100
"""Brackets within brackets: what reads, validates or renders them further on has limits of its own."""
TOO_DEEP = "is nested too deeply"
SUGGESTION_CUTOFF = 0.7
"""How alike a key and a known one are (difflib's ratio) before one is suggested for the other."""


HALF_PAIRS = "the body must have no half of a surrogate pair (\\ud800 to \\udfff) in its texts"
_MAY_BE_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_SUBJECT = re.compile(r"^[A-Z]\w*(?: \w+){0,2} should ")


class NotJsonError(Exception):
    """The body is not JSON; `position` is where it stops to be, in characters, if that is known."""

    def __init__(self, problem: str, position: int | None = None):
        super().__init__(problem)
        self.problem = problem
        self.position = position


def parse_json(body: bytes) -> Any:
    """Return the content of a body; raises NotJsonError, also for numbers and nesting beyond reason."""
    try:
        content = json.loads(body)
    except json.JSONDecodeError as error:
        raise NotJsonError(error.msg, error.pos) from None
    except UnicodeDecodeError:
        raise NotJsonError("must be encoded as UTF-8") from None
    except ValueError:
        raise NotJsonError("has a number of too many digits") from None
    except RecursionError:
        raise NotJsonError(TOO_DEEP) from None
    if _is_deep(body, content):
        raise NotJsonError(TOO_DEEP)
    return content


def _is_deep(body: bytes, content: Any) -> bool:
    if body.count(b"[") + body.count(b"{") <= NESTING_LIMIT:
        return False
    level = [content]
    for _ in range(NESTING_LIMIT):
        if not level:
            return False
        level = [inner for outer in level for inner in _inside(outer)]
    return bool(level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def has_half_pairs(body: bytes, content: Any) -> bool:
    """Return true if a text of the content has half a surrogate pair, which no tokenizer reads."""
    if not _MAY_BE_HALF.search(body):
        return False
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def unknown_key(key: str, known: Iterable[str], where: str) -> str:
    """Return what to say of a key that `where` does not have."""
    names = sorted(known)
    shown = key if len(key) <= 80 else f"{key[:80]}..."
    close = difflib.get_close_matches(key[:80], names, n=1, cutoff=SUGGESTION_CUTOFF)
    if close:
        return f'{where} has the unknown key "{shown}"; did you mean "{close[0]}"?'
    return f'{where} has the unknown key "{shown}"; it can have {", ".join(names)}'


def path_of(location: Sequence[str | int]) -> str:
    """Return a place as people write it: `messages[0].content`."""
    parts = [part for part in location if part != "[key]"]  # pydantic's for the key itself
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


def problem_of(error: Mapping[str, Any]) -> str:
    """Return what is wrong with a value, from an error of pydantic's."""
    message = str(error["msg"])
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "value_error":
        return message.removeprefix("Value error, ")
    problem = _SUBJECT.sub("must ", message)
    return problem if problem != message else f"is not valid: {message[:1].lower()}{message[1:]}"
