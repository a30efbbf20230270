"""What reading into Go structs and writing back does to the JSON of a built-in kind.

A hook that writes `env: [{name: A, value: ""}]` or `cpu: 1000m` finds something else in the
cluster. Metacontroller then sees a difference at each sync, so the differences must be here too.
"""

from __future__ import annotations

from typing import Any

from kaito_laptop.core import quantities

QUANTITY_MAPS = {
    *("limits", "requests", "capacity", "allocatable", "overhead", "hard", "used"),
    *("default", "defaultRequest", "max", "maxLimitRequestRatio", "min"),
}
QUANTITIES = {"sizeLimit", "divisor"}

# Maps with `omitempty`; an empty struct behind a pointer (emptyDir: {}) stays.
# `data` and `stringData` are not here: an empty `data` was measured to stay.
EMPTY_MAPS = {
    "nodeSelector",
    "labels",
    "annotations",
    "matchLabels",
    "limits",
    "requests",
    "selector",
}
# Plain fields with `omitempty`; pointers (runAsNonRoot, backoffLimit, replicas) keep false and 0.
FALSE_FLAGS = {
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
    "publishNotReadyAddresses",
    "paused",
    "unschedulable",
}
ZEROS = {"minReadySeconds", "initialDelaySeconds", "nodePort", "hostPort"}
EMPTY_STRINGS_KEPT = {"storageClassName"}


def round_trip(value: Any, field: str = "") -> Any:
    """Return the JSON that the API server gives back for JSON of a built-in kind."""
    if isinstance(value, dict):
        # A label may be called "readOnly": the keys of free maps are not fields.
        free = field in {
            "labels",
            "annotations",
            "matchLabels",
            "nodeSelector",
            "data",
            "stringData",
        }
        if field in QUANTITY_MAPS:
            return {key: quantities.canonical(item) for key, item in value.items()}
        if free or (field == "selector" and all(isinstance(v, str) for v in value.values())):
            return {key: item for key, item in value.items() if item is not None}
        read = {key: round_trip(item, key) for key, item in value.items()}
        return {key: item for key, item in read.items() if not is_dropped(key, item)}
    if isinstance(value, list):
        return [round_trip(item) for item in value]
    if field in QUANTITIES and value is not None:
        return quantities.canonical(value)
    return whole(value)


def whole(value: Any) -> Any:
    """Return 30 for 30.0, which Go's encoder writes without a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def whole_numbers(value: Any) -> Any:
    """Apply `whole` to all numbers of a custom resource."""
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return whole(value)


def is_dropped(field: str, value: Any) -> bool:
    """Whether the field vanishes when it holds this value."""
    if value is None or value == []:
        return True
    if value == "":
        return field not in EMPTY_STRINGS_KEPT
    if value == {}:
        return field in EMPTY_MAPS
    if value is False:
        return field in FALSE_FLAGS
    return type(value) is int and value == 0 and field in ZEROS
