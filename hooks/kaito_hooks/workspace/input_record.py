"""The inputs of a tuning as people read them, without credentials, and which of them changed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import mapping, sequence, text
from kaito_hooks.workspace.api import Tuning
from kaito_hooks.workspace.data_urls import shown
from kaito_hooks.workspace.fingerprints import plain

_SECRET_KEY = re.compile(r"token$|secret|password|credential|api_?key", re.IGNORECASE)
_CONFIG = "training_config"
_LONGEST = 200
"""Characters of one value."""
_MOST = 24 * 1024
"""Bytes of a record; annotations of an object may have 256 KiB together, and the Secret has two records twice."""
_MOST_CHANGES = 5


def record(tuning: Tuning, config: Mapping[str, Any] | None) -> str:
    """JSON for an annotation; the same inputs give the same bytes."""
    preset = tuning.preset
    inputs: dict[str, Any] = {
        "tuning.preset.name": preset.name,
        "tuning.preset.presetOptions.image": preset.image if preset.private else "",
        "tuning.method": tuning.method,
        "tuning.input.image": tuning.input.image,
        "tuning.input.urls": [_short(shown(url)) for url in tuning.input.urls],
        _CONFIG: dict(_leaves(plain(config or {}))),
    }
    inputs = {key: value for key, value in inputs.items() if value or key == _CONFIG}
    for too_large in (_CONFIG, "tuning.input.urls"):
        if len(orjson.dumps(inputs)) > _MOST:
            inputs.pop(too_large, None)
    return orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS).decode()


def changes(before: str, after: str) -> str:
    """Which inputs differ between two records, before and after; empty when none does or one is unknown."""
    old, new = _read(before), _read(after)
    if not old or not new:
        return ""
    found = [
        f"`{key}` from {_value(old.get(key), new.get(key))} to {_value(new.get(key), old.get(key))}"
        for key in sorted({*old, *new} - {_CONFIG})
        if old.get(key) != new.get(key)
    ]
    if _CONFIG in old and _CONFIG in new:
        was, now = mapping(old[_CONFIG]), mapping(new[_CONFIG])
        found += [
            f"`{key}` of training_config.yaml from {_setting(was, key)} to {_setting(now, key)}"
            for key in sorted({*was, *now})
            if was.get(key) != now.get(key)
        ]
    more = len(found) - _MOST_CHANGES
    return "; ".join([*found[:_MOST_CHANGES], *([f"and {more} more"] if more > 0 else [])])


def _read(record_: str) -> Mapping[str, Any]:
    try:
        return mapping(orjson.loads(record_))
    except ValueError:
        return {}


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif path:
        is_secret = bool(_SECRET_KEY.search(path))
        yield path, "(not shown)" if is_secret else _short(json.dumps(value, sort_keys=True))


def _value(value: object, other: object) -> str:
    """Of lists only what the other one does not have, unless it is their order that differs."""
    if value is None:
        return "none"
    if isinstance(value, list):
        apart = sorted(map(str, value)) != sorted(map(str, sequence(other)))
        items = [str(item) for item in value if not (apart and item in sequence(other))]
        return _cut("[" + ", ".join(items) + "]")
    return f"'{_cut(text(value))}'"


def _setting(values: Mapping[str, Any], key: str) -> str:
    return text(values[key]) if key in values else "the default"


def _short(value: str) -> str:
    """With a fingerprint in place of what is cut off, so that two that differ there still do."""
    if len(value) <= _LONGEST:
        return value
    return f"{value[: _LONGEST - 11]}…({fingerprint(value, 8)})"


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
