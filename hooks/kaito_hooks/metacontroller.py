"""The wire contract with Metacontroller (v2 hooks, v4.17.2): what arrives is parsed, what leaves is checked.

Objects are found by their metadata, never by the keys of the maps, so the v1 and v2 key formats read the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kaito_hooks.errors import BadRequest
from kaito_hooks.kube.objects import Manifest, mapping, metadata, name, namespace


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """The body of /sync and /finalize."""

    parent: Manifest
    children: Mapping[str, Sequence[Manifest]]
    """By kind, sorted by namespace and name."""
    related: Mapping[str, Sequence[Manifest]]
    finalizing: bool


@dataclass(frozen=True, slots=True)
class RelatedRule:
    """One rule of a /customize answer; the cluster's changes to what it names cause a sync."""

    api_version: str
    resource: str
    """Lower-case plural."""
    match_labels: Mapping[str, str] = field(default_factory=dict)
    match_expressions: Sequence[Mapping[str, Any]] = ()
    namespace: str = ""
    names: Sequence[str] = ()

    def to_json(self) -> Manifest:
        """The rule as Metacontroller reads it; `names` and a selector exclude each other."""
        rule: Manifest = {"apiVersion": self.api_version, "resource": self.resource}
        if self.namespace:
            rule["namespace"] = self.namespace
        if self.names:
            rule["names"] = sorted(self.names)
            return rule
        selector: Manifest = {}
        if self.match_labels:
            selector["matchLabels"] = dict(sorted(self.match_labels.items()))
        if self.match_expressions:
            selector["matchExpressions"] = [dict(item) for item in self.match_expressions]
        rule["labelSelector"] = selector
        return rule


@dataclass(frozen=True, slots=True)
class SyncResponse:
    """The answer to /sync (`finalized` None) and /finalize (`finalized` set)."""

    status: Manifest
    children: Sequence[Manifest] = ()
    resync_after_seconds: float = 0
    finalized: bool | None = None

    def to_json(self) -> Manifest:
        """The answer with children in a stable order.

        A missing child is a deleted child and a null child kills Metacontroller, so the list is
        built here and nowhere else.
        """
        answer: Manifest = {
            "status": self.status,
            "children": sorted(self.children, key=lambda child: (child["kind"], name(child))),
        }
        if self.resync_after_seconds > 0:
            answer["resyncAfterSeconds"] = self.resync_after_seconds
        if self.finalized is not None:
            answer["finalized"] = self.finalized
        return answer


def parse_sync(body: object) -> SyncRequest:
    """Raise `BadRequest` unless the body holds a parent with a name and a namespace."""
    request = mapping(body)
    return SyncRequest(
        parent=parse_parent(request),
        children=_by_kind(request.get("children")),
        related=_by_kind(request.get("related")),
        finalizing=request.get("finalizing") is True,
    )


def parse_parent(body: object) -> Manifest:
    """The parent of any request; raise `BadRequest` unless it has a name and a namespace."""
    parent = mapping(body).get("parent")
    if not isinstance(parent, dict):
        raise BadRequest("`parent` must be an object")
    if not name(parent) or not namespace(parent):
        raise BadRequest("`parent.metadata` must have a name and a namespace")
    return parent


def dump(answer: Manifest) -> bytes:
    """The same answer is the same bytes, whatever the order in which it was put together.

    NaN would leave as null; nothing that is read here can be one.
    """
    return orjson.dumps(answer, option=orjson.OPT_SORT_KEYS)


def _by_kind(groups: object) -> dict[str, tuple[Manifest, ...]]:
    found: dict[str, list[Manifest]] = {}
    for group in mapping(groups).values():
        for item in mapping(group).values():
            kind = mapping(item).get("kind")
            if isinstance(kind, str) and metadata(item):
                found.setdefault(kind, []).append(item)
    return {
        kind: tuple(sorted(items, key=lambda item: (namespace(item), name(item))))
        for kind, items in found.items()
    }
