"""The three-way merge of Metacontroller's dynamic apply (pkg/dynamic/apply/apply.go)."""

from __future__ import annotations

import json
from typing import Any

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import copy, get

LAST_APPLIED = "metacontroller.k8s.io/last-applied-configuration"
MERGE_KEYS = ("containerPort", "port", "mountPath", "name", "uid", "ip", "path")
SYSTEM_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)


def with_last_applied(
    manifest: Manifest, desired: Manifest, annotation: str = LAST_APPLIED
) -> Manifest:
    """Return the object with the annotation that remembers what was asked for."""
    new: Manifest = copy(manifest)
    # Go's encoder sorts keys and escapes what could end a script element.
    text = json.dumps(desired, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    annotations = new["metadata"].get("annotations") or {}
    new["metadata"]["annotations"] = {**annotations, annotation: text}
    return new


def updated(observed: Manifest, desired: Manifest, annotation: str = LAST_APPLIED) -> Manifest:
    """Return the observed object as it is wanted, with the fields of others kept."""
    text = get(observed, "metadata", "annotations", annotation)
    last_applied = json.loads(text) if text else {}
    new: Manifest = merge(copy(observed), last_applied, desired)
    for field in SYSTEM_FIELDS:
        _revert(new["metadata"], observed["metadata"], field)
    _revert(new, observed, "status")
    return with_last_applied(new, desired, annotation)


def _revert(new: Manifest, observed: Manifest, field: str) -> None:
    new.pop(field, None)
    if field in observed:
        new[field] = copy(observed[field])


def merge(observed: Any, last_applied: Any, desired: Any) -> Any:
    """Merge one value; of a wrong type counts as empty, which is what the Go code does."""
    if isinstance(observed, dict):
        return _merge_objects(observed, _dict(last_applied), _dict(desired))
    if isinstance(observed, list):
        return _merge_lists(observed, _list(last_applied), _list(desired))
    return copy(desired)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _merge_objects(
    observed: dict[str, Any], last_applied: dict[str, Any], desired: dict[str, Any]
) -> dict[str, Any]:
    kept = {k: v for k, v in observed.items() if k in desired or k not in last_applied}
    for key, value in desired.items():
        kept[key] = merge(kept.get(key), last_applied.get(key), value)
    return kept


def _merge_lists(observed: list[Any], last_applied: list[Any], desired: list[Any]) -> list[Any]:
    field = _merge_key(observed, last_applied, desired)
    if field is None:
        return copy(desired)
    by_key = [
        {str(item[field]): item for item in each} for each in (observed, last_applied, desired)
    ]
    merged = _merge_objects(*by_key)
    order = dict.fromkeys(str(item[field]) for item in [*observed, *desired])
    return [merged[key] for key in order if key in merged]


def _merge_key(*lists: list[Any]) -> str | None:
    """Return the first conventional key that all items have, if all items are objects."""
    items = [item for each in lists for item in each]
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in MERGE_KEYS if all(key in item for item in items)), None)
