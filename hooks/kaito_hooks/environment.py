"""How a variable of the environment is written: each function raises `InvalidSettings` with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kaito_hooks.errors import InvalidSettings


def choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of these; the first is the default."""
    value = optional(env, name, choices[0])
    if value not in choices:
        raise InvalidSettings(f"{name} must be one of {', '.join(choices)}, found '{value}'")
    return value


def whole(env: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """The default, or a whole number of the range."""
    value = optional(env, name, str(default))
    if not value.isascii() or not value.isdecimal() or int(value) not in (default, *allowed):
        bounds = f"from {allowed[0]} to {allowed[-1]}"
        raise InvalidSettings(f"{name} must be {default} or {bounds}, found '{value}'")
    return int(value)


def like(env: Mapping[str, str], name: str, example: str, pattern: str) -> str:
    """A value of the pattern; the example is the default."""
    value = optional(env, name, example)
    if not re.fullmatch(pattern, value, re.ASCII):
        raise InvalidSettings(f"{name} must be written like '{example}', found '{value}'")
    return value


def words(env: Mapping[str, str], name: str) -> list[str]:
    """A list, separated by blanks or commas."""
    return env.get(name, "").replace(",", " ").split()


def optional(env: Mapping[str, str], name: str, default: str = "") -> str:
    """The value without blanks around it, or the default."""
    return env.get(name, "").strip() or default


def required(env: Mapping[str, str], name: str) -> str:
    """The value; it must be there."""
    value = optional(env, name)
    if not value:
        raise InvalidSettings(f"{name} must be set")
    return value
