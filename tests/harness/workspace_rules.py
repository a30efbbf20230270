"""One row for each rule of the Workspace's CRD: what breaks it, and what the API server then says.

The rules of OpenAPI (types, bounds, enumerations, required fields) are read from the CRD, so a new one has
its row at once; the rules in CEL are written here with the objects that break them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from kaito_laptop.core.cluster import Cluster, ClusterError, Key
from kaito_laptop.core.objects import copy

from tests.harness.builders import inference_workspace, merged, tuning_workspace
from tests.harness.wire import ROOT

Manifest = dict[str, Any]
Path = tuple[str, ...]
"""Names of fields; `[]` is each item of a list, `{}` each value of a map."""
ACCEPTED = "accepted"
PLAIN = {
    "metadata": {
        "namespace": None,
        "uid": None,
        "generation": None,
        "creationTimestamp": None,
        "name": "rules",
    }
}
TUNING = merged(tuning_workspace(), PLAIN)
INFERENCE = merged(inference_workspace(), PLAIN)
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Fine",
    "message": "Fine.",
    "lastTransitionTime": "2026-11-02T09:30:00Z",
}
EXCLUSIVE = (("urls", "image", "volumeSource"), ("image", "volumeSource"), ("preset", "template"))
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "maxItems", "maxProperties")
WRONG = {"string": 7, "integer": "seven", "boolean": "maybe", "object": "text", "array": "text"}
RIGHT = {"string": "a", "integer": 1, "boolean": True, "object": {}, "array": []}
FREE = "x-kubernetes-preserve-unknown-fields"


@dataclass(frozen=True, slots=True)
class Row:
    """What is created, then perhaps changed, and words of the refusal; none for what is accepted."""

    name: str
    created: Manifest
    changed: Manifest | None = None
    says: str = ""

    def outcome(self, cluster: Cluster, namespace: str) -> str:
        """Try it, clean up, and return what the last request was answered."""
        key = Key(
            cluster.resource("kaito.sh/v1alpha1", "Workspace"), _name(self.created), namespace
        )
        try:
            made = cluster.create(merged(self.created, {"metadata": {"namespace": namespace}}))
        except ClusterError as error:
            return error.message
        try:
            if self.changed is not None:
                version = {"metadata": made["metadata"]}
                write = cluster.update_status if "status" in self.changed else cluster.update
                write(merged(self.changed, version))
        except ClusterError as error:
            return error.message
        finally:
            cluster.delete(key)
        return ACCEPTED


@cache
def schema() -> Manifest:
    """The schema of the Workspace."""
    crd = yaml.safe_load((ROOT / "crds/kaito.sh_workspaces.yaml").read_text())
    found: Manifest = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def openapi_rows() -> Iterator[Row]:
    """A row for each constraint of OpenAPI."""
    for path, node in walk(schema()):
        if path in ((), ("metadata",), ("apiVersion",), ("kind",)):
            continue
        spoken = ".".join(path).replace(".[]", "[]").replace(".{}", "{}")
        kind = node.get("type", "string")
        yield _row(f"{spoken} must be of type {kind}", path, WRONG[kind])
        for keyword in BOUNDS:
            if keyword in node:
                yield _row(f"{spoken} keeps {keyword}", path, _beyond(node, keyword))
        if "enum" in node:
            yield _row(f"{spoken} is one of its values", path, "nonsense")
        if node.get("format") == "date-time":
            yield _row(f"{spoken} is a date", path, "yesterday")
        for field in node.get("required", ()):
            if path:
                yield _row(f"{spoken} needs {field}", (*path, field), None)


def walk(node: Manifest, path: Path = ()) -> Iterator[tuple[Path, Manifest]]:
    """Every part of a schema that has a name."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, (*path, name))
    if "items" in node:
        yield from walk(node["items"], (*path, "[]"))
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], (*path, "{}"))


def _row(name: str, path: Path, value: Any) -> Row:
    if path[0] == "status":
        whole = merged(TUNING, {"status": {"conditions": [CONDITION]}})
        return Row(name, TUNING, _with(whole, path, value), "is invalid")
    base = INFERENCE if path[0] == "inference" else TUNING
    return Row(name, _with(base, path, value), says="is invalid")


def _with(base: Manifest, path: Path, value: Any) -> Manifest:
    """A copy with the value at a path; None removes it; what excludes it goes."""
    result = merged(base, {})
    if path[0] in ("inference", "tuning") and path[0] not in result:
        result[path[0]] = {}
    place: Any = result
    node = schema()
    for step, following in zip(path, (*path[1:], None), strict=True):
        node = _child(node, step)
        key: Any = {"[]": 0, "{}": "key"}.get(step, step)
        if isinstance(place, dict):
            for other in _excluded_by(step):
                place.pop(other, None)
        if following is None:
            _put(place, key, value)
        else:
            if step == "[]" and not place:
                place.append(_sample(node))
            elif isinstance(place, dict) and key not in place:
                place[key] = _sample(node)
            place = place[key]
    return result


def _excluded_by(step: str) -> set[str]:
    groups = [set(group) for group in EXCLUSIVE if step in group]
    return set().union(*groups) - {step}


def _put(place: Any, key: Any, value: Any) -> None:
    if value is None:
        place.pop(key, None)
    elif key == 0:
        place[:] = [value]
    else:
        place[key] = value


def _child(node: Manifest, step: str) -> Manifest:
    special = {"[]": node.get("items"), "{}": node.get("additionalProperties")}
    found: Manifest = special.get(step) or node["properties"][step]
    return found


def _distinct(node: Manifest, number: int) -> Any:
    """An item of a list; those of a map are told apart by their keys."""
    item = _sample(node["items"])
    for key in node.get("x-kubernetes-list-map-keys", ()):
        item[key] = f"key-{number}"
    return item


def _sample(node: Manifest) -> Any:
    """A value of a part of the schema, with what it requires."""
    if "enum" in node:
        return node["enum"][0]
    if node.get("format") == "date-time":
        return CONDITION["lastTransitionTime"]
    if node.get("type") == "object" and "required" in node:
        return {name: _sample(node["properties"][name]) for name in node["required"]}
    return copy(RIGHT[node.get("type", "string")])


def _beyond(node: Manifest, keyword: str) -> Any:
    limit = node[keyword]
    match keyword:
        case "minimum":
            return limit - 1
        case "maximum":
            return limit + 1
        case "minLength":
            return "a" * (limit - 1)
        case "maxLength":
            return "a" * (limit + 1)
        case "maxItems":
            return [_distinct(node, number) for number in range(limit + 1)]
    return {f"key-{number}": "a" for number in range(limit + 1)}


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])
