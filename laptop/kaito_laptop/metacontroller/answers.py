"""What a hook answered, read as strictly as Metacontroller reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.store.go_json import whole_numbers


class UnreadableAnswerError(Exception):
    """The sync fails and nothing is changed."""


class MetacontrollerCrashedError(AssertionError):
    """The answer would have ended the process of Metacontroller, for all controllers."""


@dataclass(frozen=True, slots=True)
class SyncAnswer:
    """The answer of a sync or finalize hook."""

    status: Manifest = field(default_factory=dict)
    children: Sequence[Manifest] = ()
    resync_after_seconds: float = 0
    finalized: bool = False


def parse_sync(body: bytes, strict: bool) -> SyncAnswer:
    """Read the answer of a sync or finalize hook; `null` and `{}` are empty answers."""
    fields = _object(body, strict, {"status", "children", "resyncAfterSeconds", "finalized"})
    status = fields.get("status") or {}
    children = fields.get("children") or []
    resync = fields.get("resyncAfterSeconds") or 0
    finalized = fields.get("finalized") or False
    _expect(status, dict, "status", "an object")
    _expect(children, list, "children", "a list")
    _expect(finalized, bool, "finalized", "true or false")
    if isinstance(resync, bool) or not isinstance(resync, int | float):
        raise UnreadableAnswerError(f"`resyncAfterSeconds` must be a number, not {resync!r}")
    for child in children:
        if child is None:
            raise MetacontrollerCrashedError("`children` has a null in it")
        _expect(child, dict, "children[]", "an object")
        if not isinstance(child.get("kind"), str) or not child["kind"]:
            raise UnreadableAnswerError(f"Object 'Kind' is missing in {json.dumps(child)[:200]}")
    return SyncAnswer(whole_numbers(status), children, float(resync), finalized)


def parse_customize(body: bytes, strict: bool) -> Sequence[Manifest]:
    """Read the rules of a customize hook."""
    rules = _object(body, strict, {"relatedResources"}).get("relatedResources") or []
    _expect(rules, list, "relatedResources", "a list")
    for rule in rules:
        _expect(rule, dict, "relatedResources[]", "an object")
    return list(rules)


def _object(body: bytes, strict: bool, known: set[str]) -> Manifest:
    pairs: list[tuple[str, Any]] = []

    def keep(found: list[tuple[str, Any]]) -> Manifest:
        # The outermost object is read last.
        pairs[:] = found
        return dict(found)

    try:
        value = json.loads(body, parse_constant=_refuse, object_pairs_hook=keep)
    except ValueError as error:
        raise UnreadableAnswerError(f"can't unmarshal response: {error}") from error
    if value is None:
        return {}
    _expect(value, dict, "the answer", "an object")
    names = [name for name, _ in pairs] if value else []
    if strict:
        wrong = sorted({each for each in names if each not in known or names.count(each) > 1})
        if wrong:
            raise UnreadableAnswerError(f"unknown or duplicate fields in the answer: {wrong}")
    return dict(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _expect(value: Any, type_: type, name: str, what: str) -> None:
    if not isinstance(value, type_):
        raise UnreadableAnswerError(f"{name} must be {what}, not {json.dumps(value)[:80]}")
