"""python -m kaito_hooks.providers.aks.sweep: one sweep, one line, and an exit code that a Job shows.

0: looked, and did what was to be done. 1: nothing could be concluded, or a pool could not be deleted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from kubernetes import client as kube
from kubernetes import config

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.providers.aks.sweep.api import Api
from kaito_hooks.providers.aks.sweep.settings import SweepSettings
from kaito_hooks.providers.aks.sweep.sweep import Report, sweep
from kaito_hooks.settings import environ

TERMINATION_LOG = Path("/dev/termination-log")
PUSH_SECONDS = 5


def metrics(report: Report, now: datetime) -> str:
    """Prometheus' text format."""
    figures: Mapping[str, tuple[str, float]] = {
        "kaito_orphan_pools": ("Agent pools without a Machine.", report.orphans),
        "kaito_orphan_pools_deleted": ("Of these, deleted now.", len(report.deleted)),
        "kaito_orphan_pools_failed": ("Of these, not to be deleted.", len(report.failed)),
        "kaito_unmarked_pools": (
            "Pools that look like ours without our tag.",
            len(report.unmarked),
        ),
        "kaito_orphan_sweep_refused": ("Whether nothing could be concluded.", bool(report.refusal)),
        "kaito_orphan_sweep_timestamp_seconds": ("When the sweep ended.", now.timestamp()),
    }
    lines: list[str] = []
    for name, (help_, value) in figures.items():
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge", f"{name} {float(value):.12g}"]
    return "\n".join([*lines, ""])


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
        url = f"{options.push_url}/metrics/job/kaito-orphan-sweep"
        body = metrics(report, _now()).encode()
        try:
            urlopen(Request(url, body, method="PUT"), timeout=PUSH_SECONDS).close()
        except (URLError, OSError) as error:
            print(
                json.dumps({"message": "Failed to push metrics", "error": str(error)}), flush=True
            )


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # The edge reads the clock.


if __name__ == "__main__":
    sys.exit(main())
