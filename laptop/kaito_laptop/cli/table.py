"""Objects as rows, as `kubectl get` prints them: columns from the CRD or those of built-in kinds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kaito_laptop.core.clock import parse_timestamp
from kaito_laptop.core.cluster import Manifest, Resource
from kaito_laptop.core.objects import get
from kaito_laptop.store.memory import MemoryCluster

GAP = "   "
_STEP = re.compile(
    r"\.(?P<field>[A-Za-z0-9_-]+)"
    r"|\[\?\(@\.(?P<where>[A-Za-z0-9_.-]+)==(?P<quote>['\"])(?P<value>.*?)(?P=quote)\)\]"
    r"|\[(?P<index>\d+)\]"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title and where its value is."""

    title: str
    path: str
    is_date: bool = False


AGE = Column("Age", ".metadata.creationTimestamp", is_date=True)
NAME = Column("Name", ".metadata.name")
BUILTIN: dict[str, tuple[tuple[str, str], ...]] = {
    "Pod": (("Status", ".status.phase"), ("Node", ".spec.nodeName")),
    "Job": (("Succeeded", ".status.succeeded"), ("Failed", ".status.failed")),
    "Deployment": (("Replicas", ".spec.replicas"), ("Ready", ".status.readyReplicas")),
    "Service": (("Type", ".spec.type"), ("Cluster-IP", ".spec.clusterIP")),
    "Secret": (("Type", ".type"),),
    "Event": (("Type", ".type"), ("Reason", ".reason"), ("Message", ".message")),
}


def columns_of(kind: str, definition: Manifest | None, *, wide: bool = False) -> list[Column]:
    """Return the columns of a kind; those of priority 1 only in the wide form."""
    if definition is None:
        found = [Column(title, path) for title, path in BUILTIN.get(kind, ())]
        return [NAME, *found, AGE]
    version = next(each for each in definition["spec"]["versions"] if each.get("storage"))
    printed = version.get("additionalPrinterColumns", [])
    shown = [each for each in printed if wide or not each.get("priority")]
    found = [Column(e["name"], e["jsonPath"], e["type"] == "date") for e in shown]
    return [NAME, *(found or [AGE])]


def printed_columns(cluster: MemoryCluster, kind: Resource, *, wide: bool = False) -> list[Column]:
    """Return the columns of a kind of this cluster."""
    return columns_of(kind.kind, cluster.definition(kind), wide=wide)


def row(manifest: Manifest, columns: Sequence[Column], now: datetime) -> list[str]:
    """Return the cells of one object."""
    return [_cell(manifest, column, now) for column in columns]


def _cell(manifest: Manifest, column: Column, now: datetime) -> str:
    value = find(manifest, column.path)
    if value is None:
        return ""
    return age(now - parse_timestamp(value)) if column.is_date else str(value)


def age(passed: timedelta) -> str:
    """Write a time span as kubectl does (duration.HumanDuration): 90s, 5m30s, 20m, 3h10m, 2d."""
    seconds = max(0, int(passed.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 2:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if days < 2:
        return f"{hours}h"
    return _two(days, "d", hours % 24, "h") if days < 8 else f"{days}d"


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}" + (f"{small}{small_unit}" if small else "")


def find(value: Any, path: str) -> Any:
    """Follow the JSONPath of a printer column; None where it leads nowhere."""
    for step in _STEP.finditer(path):
        if step["field"] is not None:
            value = value.get(step["field"]) if isinstance(value, dict) else None
        elif not isinstance(value, list):
            return None
        elif step["index"] is not None:
            index = int(step["index"])
            value = value[index] if index < len(value) else None
        else:
            where = step["where"].split(".")
            value = next((each for each in value if get(each, *where) == step["value"]), None)
    return value


def widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column must be."""
    lines = [[column.title for column in columns], *rows]
    return [max(len(line[index]) for line in lines) for index in range(len(columns))]


def line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    """Return one line of the table."""
    padded = (cell.ljust(size) for cell, size in zip(cells, sizes, strict=True))
    return GAP.join(padded).rstrip()


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Return the whole table with its header."""
    sizes = widths(columns, rows)
    header = line([column.title.upper() for column in columns], sizes)
    return "\n".join([header, *(line(each, sizes) for each in rows)])
