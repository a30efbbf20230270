"""python -m kaito_hooks.providers.aks.sweep: one sweep, one line, and an exit code that a Job shows.

0: looked, and did what was to be done. 1: nothing could be concluded, or a pool could not be deleted.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from kubernetes import client as kube
from kubernetes import config
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.providers.aks.sweep.api import Api
from kaito_hooks.providers.aks.sweep.settings import SweepSettings
from kaito_hooks.providers.aks.sweep.sweep import Report, sweep
from kaito_hooks.settings import environ

TERMINATION_LOG = Path("/dev/termination-log")
PUSH_SECONDS = 5


FIGURES = {
    "kaito_orphan_pools": "Agent pools without a Machine.",
    "kaito_orphan_pools_deleted": "Of these, deleted now.",
    "kaito_orphan_pools_failed": "Of these, not to be deleted.",
    "kaito_unmarked_pools": "Pools that look like ours without our tag.",
    "kaito_orphan_sweep_refused": "Whether nothing could be concluded.",
    "kaito_orphan_sweep_timestamp_seconds": "When the sweep ended.",
}


def metrics(report: Report, now: datetime) -> CollectorRegistry:
    """What one sweep came to, for Prometheus."""
    values = (
        *(report.orphans, len(report.deleted), len(report.failed), len(report.unmarked)),
        *(bool(report.refusal), now.timestamp()),
    )
    registry = CollectorRegistry()
    for (name, help_), value in zip(FIGURES.items(), values, strict=True):
        Gauge(name, help_, registry=registry).set(value)
    return registry


def main() -> int:
    """Sweep as the environment says."""
    settings = AksSettings.from_environ(environ())
    options = SweepSettings.from_environ(environ())
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    with kube.ApiClient() as connection:
        api = Api(connection, options.namespace)
        report = sweep(
            AksProvider(settings, _now), api, _now, settings.install_id, options.may_delete
        )
    _tell(report, options)
    return int(bool(report.refusal or report.failed))


def _tell(report: Report, options: SweepSettings) -> None:
    line = {
        "time": _now().isoformat(timespec="seconds"),
        "message": report.message,
        **asdict(report),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(report.message[:4000], encoding="utf-8")
    if options.push_url:
        try:
            push_to_gateway(
                options.push_url,
                job="kaito-orphan-sweep",
                registry=metrics(report, _now()),
                timeout=PUSH_SECONDS,
            )
        except OSError as error:
            line = {"message": "Failed to push metrics", "error": str(error)}
            print(json.dumps(line), flush=True)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # The edge reads the clock.


if __name__ == "__main__":
    sys.exit(main())
