"""Metrics for Prometheus: a registry for each app, as one process may hold several."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest

BUCKETS = (0.005, 0.015, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0)
"""Upper bounds in seconds; 0.015 is the p99 that the Workspace hook promises."""

disable_created_metrics()


class HookMetrics:
    """What every hook counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Histogram(
            "kaito_hook_call_seconds",
            "Seconds from a call's first byte to its answer.",
            ("code", "route"),
            registry=self.registry,
            buckets=BUCKETS,
        )

    def observe_call(self, route: str, code: int, seconds: float) -> None:
        """Count one hook call and how long it took."""
        self._calls.labels(str(code), route).observe(seconds)


class MachineMetrics(HookMetrics):
    """What the Machine hook counts besides."""

    def __init__(self) -> None:
        super().__init__()
        self._provider_calls = Counter(
            "kaito_provider_calls_total",
            "Calls to the provider.",
            ("call", "outcome"),
            registry=self.registry,
        )
        self._finalizing = Gauge(
            "kaito_machine_finalizing_seconds",
            "Seconds since the deletion of a Machine that is still there.",
            ("name", "namespace"),
            registry=self.registry,
        )

    def count_provider_call(self, call: str, outcome: str) -> None:
        """Count one request to the provider by its outcome."""
        self._provider_calls.labels(call, outcome).inc()

    def set_finalizing(self, namespace: str, name: str, seconds: float | None) -> None:
        """Show how long a Machine has been leaving, until it is gone (None)."""
        if seconds is None:
            with suppress(KeyError):  # It was never shown.
                self._finalizing.remove(name, namespace)
        else:
            self._finalizing.labels(name, namespace).set(seconds)


def blueprint(metrics: HookMetrics) -> Blueprint:
    """`GET /metrics`."""
    scrape = Blueprint("metrics", __name__)

    def show() -> Response:
        text = generate_latest(metrics.registry)
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    scrape.add_url_rule("/metrics", view_func=show, methods=["GET"])
    return scrape
