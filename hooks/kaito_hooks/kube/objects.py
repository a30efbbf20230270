"""Reading objects whose every field may be missing or of another type: any JSON can arrive in a hook.

What is parsed from JSON is a dict or a list; asking for the abstract types costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: object, default: int = 0) -> int:
    """The value if it is a whole number, else the default; booleans are no numbers."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def get_in(value: object, *path: str) -> Any:
    """What lies at the path, or None."""
    for step in path:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def metadata(manifest: object) -> Mapping[str, Any]:
    """The object's metadata, empty when there is none."""
    found = manifest.get("metadata") if isinstance(manifest, dict) else None
    return found if isinstance(found, dict) else {}


def name(manifest: object) -> str:
    """The object's name, empty when there is none."""
    return text(metadata(manifest).get("name"))


def namespace(manifest: object) -> str:
    """The object's namespace, empty when there is none."""
    return text(metadata(manifest).get("namespace"))


def uid(manifest: object) -> str:
    """The object's uid, empty when there is none."""
    return text(metadata(manifest).get("uid"))


def generation(manifest: object) -> int:
    """The object's generation, 0 when there is none."""
    return number(metadata(manifest).get("generation"))


def labels_of(manifest: object) -> Mapping[str, str]:
    """The object's labels whose values are strings."""
    return _strings(metadata(manifest).get("labels"))


def annotations_of(manifest: object) -> Mapping[str, str]:
    """The object's annotations whose values are strings."""
    return _strings(metadata(manifest).get("annotations"))


def is_deleting(manifest: object) -> bool:
    """Whether the API server has begun to delete the object."""
    return bool(metadata(manifest).get("deletionTimestamp"))


def _strings(value: object) -> dict[str, str]:
    return {
        key: item
        for key, item in mapping(value).items()
        if isinstance(key, str) and isinstance(item, str)
    }


def owners(manifest: object) -> list[Mapping[str, Any]]:
    """The object's owner references."""
    return [mapping(owner) for owner in sequence(metadata(manifest).get("ownerReferences"))]
