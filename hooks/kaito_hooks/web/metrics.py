"""Numbers for Prometheus, in its text format 0.0.4.

Our own sixty lines: one process with threads needs a lock and a dictionary, and a dependency costs
each worker memory.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from math import inf

from flask import Blueprint, Response

BUCKETS = (0.005, 0.015, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0)
"""Upper bounds in seconds; 0.015 is the p99 that the Workspace hook promises."""

_BOUNDS = tuple((bound, ("le", f"{bound:g}")) for bound in BUCKETS) + ((inf, ("le", "+Inf")),)

Labels = tuple[tuple[str, str], ...]


class Registry:
    """Counters and gauges of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helps: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}

    def count(self, name: str, help_: str, labels: Mapping[str, str], by: float = 1) -> None:
        """Add to a counter; its name ends in `_total`."""
        with self._lock:
            self._add(name, "counter", help_, "", _sorted(labels), by)

    def set(self, name: str, help_: str, labels: Mapping[str, str], value: float | None) -> None:
        """Set a gauge, or take that series away (None)."""
        with self._lock:
            series = self._series(name, "gauge", help_)
            if value is None:
                series.pop(("", _sorted(labels)), None)
            else:
                series["", _sorted(labels)] = value

    def observe_call(self, route: str, code: int, seconds: float) -> None:
        """Count one hook call and how long it took."""
        labels = _sorted({"route": route, "code": str(code)})
        name, help_ = "kaito_hook_call_seconds", "Seconds from a call's first byte to its answer."
        with self._lock:
            for bound, le in _BOUNDS:
                hit = float(seconds <= bound)
                self._add(name, "histogram", help_, "_bucket", (*labels, le), hit)
            self._add(name, "histogram", help_, "_count", labels, 1)
            self._add(name, "histogram", help_, "_sum", labels, seconds)

    def text(self) -> str:
        """All series, sorted by family."""
        with self._lock:
            lines: list[str] = []
            for name, (kind, help_) in sorted(self._helps.items()):
                lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
                for (suffix, labels), value in self._values[name].items():
                    lines.append(f"{name}{suffix}{_braces(labels)} {value:.12g}")
        return "\n".join([*lines, ""])

    def _add(
        self, name: str, kind: str, help_: str, suffix: str, labels: Labels, by: float
    ) -> None:
        series = self._series(name, kind, help_)
        series[suffix, labels] = series.get((suffix, labels), 0) + by

    def _series(self, name: str, kind: str, help_: str) -> dict[tuple[str, Labels], float]:
        self._helps.setdefault(name, (kind, help_))
        return self._values.setdefault(name, {})


def blueprint(registry: Registry) -> Blueprint:
    """`GET /metrics`."""
    scrape = Blueprint("metrics", __name__)

    def metrics() -> Response:
        return Response(registry.text(), content_type="text/plain; version=0.0.4; charset=utf-8")

    scrape.add_url_rule("/metrics", view_func=metrics, methods=["GET"])
    return scrape


def _sorted(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
