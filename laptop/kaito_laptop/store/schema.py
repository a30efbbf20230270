"""Structural schemas of CustomResourceDefinitions: defaults, pruning and validation.

The order is the API server's: prune, default, then validate. A value that an update leaves as it
was is not validated again (ratcheting), so an object stays editable when its CRD becomes stricter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import copy, same
from kaito_laptop.store import cel
from kaito_laptop.store.validation import quoted

BLOCKING = (
    ": Required value",
    ": Too long",
    ": Too many",
    "must be of type",
    ": Unsupported value",
)
"""Errors after which no rule in CEL is looked at."""
NOT_CHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was "
    "invalid; correct the existing errors to complete validation"
)
UNKNOWN_FIELDS = "x-kubernetes-preserve-unknown-fields"
OBJECT_FIELDS = {"apiVersion", "kind", "metadata"}


def prune(schema: Manifest, value: Any, root: bool = True) -> Any:
    """Return the value without the fields that the schema does not know."""
    if isinstance(value, list):
        items = schema.get("items")
        return [prune(items, item, False) for item in value] if items else value
    if not isinstance(value, dict):
        return value
    properties: dict[str, Any] = schema.get("properties", {})
    free = schema.get("additionalProperties")
    embedded = root or schema.get("x-kubernetes-embedded-resource")
    kept = {}
    for field, item in value.items():
        if embedded and field in OBJECT_FIELDS:
            kept[field] = item
        elif field in properties:
            kept[field] = prune(properties[field], item, False)
        elif isinstance(free, dict):
            kept[field] = prune(free, item, False)
        elif free or schema.get(UNKNOWN_FIELDS):
            kept[field] = item
    return kept


def fill(schema: Manifest, value: Any) -> None:
    """Put defaults in place; a null is replaced where null is not allowed."""
    if isinstance(value, list):
        for item in value:
            fill(schema.get("items", {}), item)
        return
    if not isinstance(value, dict):
        return
    free = schema.get("additionalProperties")
    properties: dict[str, Any] = schema.get("properties", {})
    for field, item in list(value.items()):
        if item is None and field in properties and not properties[field].get("nullable"):
            del value[field]
        elif item is not None and field not in properties and isinstance(free, dict):
            fill(free, item)
    for field, child in properties.items():
        if field not in value and "default" in child:
            value[field] = copy(child["default"])
        if value.get(field) is not None:
            fill(child, value[field])


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with its schema, and the value that it replaces, if it does."""

    schema: Manifest
    value: Any
    old: Any
    has_old: bool
    field: str


def causes(schema: Manifest, value: Any, old: Any = None, has_old: bool = False) -> Iterator[str]:
    """Yield what the API server would print about each wrong field.

    Rules are evaluated only when the shape is right, because they read fields without asking.
    """
    nodes = list(_walk(_Node(schema, value, old, has_old, "")))
    shape = [cause for node in nodes for cause in _shape(node)]
    shape += [cause for node in nodes for cause in _list_type(node)]
    yield from shape
    if not any(words in cause for cause in shape for words in BLOCKING):
        for node in nodes:
            yield from cel.causes(node.schema, node.value, node.old, node.has_old, node.field)
    elif _has_rules(schema):
        yield NOT_CHECKED


def _has_rules(schema: Manifest) -> bool:
    """Whether there is a rule in CEL anywhere in a schema."""
    children = [*schema.get("properties", {}).values()]
    children += [schema.get("items"), schema.get("additionalProperties")]
    return "x-kubernetes-validations" in schema or any(
        _has_rules(child) for child in children if isinstance(child, dict)
    )


def _walk(node: _Node) -> Iterator[_Node]:
    """Yield all values that have a schema, except those that stay as they were."""
    schema, value, old = node.schema, node.value, node.old
    if (node.has_old and same(value, old)) or (value is None and schema.get("nullable")):
        return
    yield node
    if isinstance(value, dict):
        prefix = node.field + "." if node.field else ""
        earlier = old if isinstance(old, dict) else {}
        free = schema.get("additionalProperties")
        for name, item in value.items():
            child = schema.get("properties", {}).get(name, free)
            if isinstance(child, dict):
                before = earlier.get(name)
                yield from _walk(_Node(child, item, before, name in earlier, prefix + name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            before = _correlated(schema, item, old)
            at = f"{node.field}[{index}]"
            yield from _walk(_Node(schema["items"], item, before, before is not None, at))


def _correlated(schema: Manifest, item: Any, old: Any) -> Any:
    """Find the old item with the same keys; only lists of type map have one."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return None
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if not isinstance(item, dict):
        return None
    return next((each for each in old if all(each.get(k) == item.get(k) for k in keys)), None)


def _shape(node: _Node) -> Iterator[str]:
    schema, value, field = node.schema, node.value, node.field
    wrong = list(_type_causes(schema, value, field))
    yield from wrong
    if wrong:
        yield from _enum(schema, value, field)
        return
    if isinstance(value, dict):
        for required in schema.get("required", ()):
            if required not in value:
                yield f"{field + '.' if field else ''}{required}: Required value"
    yield from _bounds(schema, value, field)


def _list_type(node: _Node) -> Iterator[str]:
    schema, value, field = node.schema, node.value, node.field
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("map", "set") or not isinstance(value, list):
        return
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: list[Any] = []
    for index, item in enumerate(value):
        if kind == "map" and not isinstance(item, dict):
            what = "must be an object for an array of list-type map"
            yield f"{field}[{index}]: Invalid value: {quoted(item)}: {what}"
            continue
        key = {each: item.get(each) for each in keys} if kind == "map" else item
        if key in seen:
            yield f"{field}[{index}]: Duplicate value: {quoted(key)}"
        seen.append(key)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def _type_causes(schema: Manifest, value: Any, field: str) -> Iterator[str]:
    wanted = schema.get("type")
    shown = cel.type_name(value)
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, int | str) and not isinstance(value, bool)
        wanted = "integer,string"
    elif wanted is None:
        return
    else:
        fits = isinstance(value, _TYPES[wanted])
        fits = fits and (wanted == "boolean" or not isinstance(value, bool))
        if schema.get("format") == "date-time" and not (fits and _is_date(value)):
            # The format is looked at before the type, and by Go's names of types.
            shown = value if fits else {"integer": "int64"}.get(shown, shown)
            wanted, fits = "date-time", False
    if not fits:
        yield (
            f'{field or "<nil>"}: Invalid value: "{shown}": {_in_body(field)} must be of type '
            f'{wanted}: "{shown}"'
        )


def _is_date(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False


def _in_body(field: str) -> str:
    """Name a field in words; of a status the server sees nothing but the status."""
    within = field.removeprefix("status").lstrip(".") if _is_of_status(field) else field
    return f"{within} in body"


def _is_of_status(field: str) -> bool:
    return field == "status" or field.startswith("status.")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _bounds(schema: Manifest, value: Any, field: str) -> Iterator[str]:
    yield from _enum(schema, value, field)
    if isinstance(value, str):
        yield from _string_bounds(schema, value, field)
    elif isinstance(value, list):
        yield from _size_bounds(schema, value, field, "Items")
    elif isinstance(value, dict):
        yield from _size_bounds(schema, value, field, "Properties")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number_bounds(schema, value, field)


def _enum(schema: Manifest, value: Any, field: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(quoted(each) for each in schema["enum"])
        yield f"{field}: Unsupported value: {quoted(value)}: supported values: {allowed}"


def _size_bounds(
    schema: Manifest, value: Sized, field: str, unit: Literal["Items", "Properties"]
) -> Iterator[str]:
    size, most, least = len(value), schema.get(f"max{unit}"), schema.get(f"min{unit}")
    if most is not None and size > most:
        yield f"{field}: Too many: {size}: must have at most {most} items"
    if least is not None and size < least:
        at_least = f"should have at least {least} {unit.lower()}"
        yield f"{field}: Invalid value: {size}: {_in_body(field)} {at_least}"


def _string_bounds(schema: Manifest, value: str, field: str) -> Iterator[str]:
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield f"{field}: Too long: may not be more than {schema['maxLength']} bytes"
    if "minLength" in schema and len(value) < schema["minLength"]:
        yield (
            f"{field}: Invalid value: {quoted(value)}: {_in_body(field)} should be at least "
            f"{schema['minLength']} chars long"
        )
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield (
            f"{field}: Invalid value: {quoted(value)}: {_in_body(field)} should match "
            f"'{schema['pattern']}'"
        )


def _number_bounds(schema: Manifest, value: float, field: str) -> Iterator[str]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and (value < least or (value == least and schema.get("exclusiveMinimum"))):
        than = "greater than" + ("" if schema.get("exclusiveMinimum") else " or equal to")
        yield f"{field}: Invalid value: {value}: {_in_body(field)} should be {than} {least}"
    if most is not None and (value > most or (value == most and schema.get("exclusiveMaximum"))):
        than = "less than" + ("" if schema.get("exclusiveMaximum") else " or equal to")
        yield f"{field}: Invalid value: {value}: {_in_body(field)} should be {than} {most}"
