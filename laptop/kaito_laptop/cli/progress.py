"""What `kaito up` prints while a Workspace comes up: rows that change, why it waits, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from kaito_laptop.cli.control_answers import printed_columns
from kaito_laptop.cli.laptop import Laptop
from kaito_laptop.cli.table import line, row, widths
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import condition, get, labels, name, namespace, uid
from kaito_laptop.kubelet.folders import log_file, tail

WORKSPACE_LABEL = "kaito.sh/workspace"
QUIET_SECONDS = 5.0
"""Between two lines of progress where the terminal cannot rewrite a line."""


class Progress:
    """Prints what is news each time it is asked to look."""

    def __init__(self, laptop: Laptop, out: TextIO | None = None) -> None:
        self._laptop = laptop
        self._out = out or sys.stdout
        self._rows: dict[str, list[str]] = {}
        self._reasons: dict[str, tuple[str, str]] = {}
        self._names: dict[str, str] = {}
        """Of the Workspaces of the last look, by uid."""
        self._sizes: list[int] = []
        self._passing = ""
        self._passed = 0.0

    def look(self) -> None:
        """Print rows and reasons that have changed, and the newest line of progress."""
        cluster = self._laptop.cluster
        kind = cluster.resource("kaito.sh/v1alpha1", "Workspace")
        found = cluster.list(kind)
        columns = printed_columns(cluster, kind)
        now = self._laptop.event_loop.clock.now()
        rows = [row(each, columns, now) for each in found]
        for manifest, cells in zip(found, rows, strict=True):
            if self._rows.get(uid(manifest)) == cells[:-1]:
                continue
            self._rows[uid(manifest)] = cells[:-1]
            sizes = widths(columns, rows)
            if len(sizes) != len(self._sizes) or any(
                new > old for new, old in zip(sizes, self._sizes, strict=True)
            ):
                self._sizes = sizes
                self.say(line([column.title.upper() for column in columns], sizes))
            self.say(line(cells, self._sizes))
        for manifest in found:
            self._say_reason(manifest)
        living = {uid(manifest): name(manifest) for manifest in found}
        for gone in self._names.keys() - living.keys():
            self.say(f"{self._names[gone]} is gone")
        self._names = living
        self.pass_on(self._newest_progress())

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        print(text, file=self._out, flush=True)

    def _say_reason(self, workspace: Manifest) -> None:
        ready = condition(workspace, "Ready")
        if ready is None:
            return
        words = (ready["reason"], ready["message"])
        if self._reasons.get(uid(workspace)) != words:
            self._reasons[uid(workspace)] = words
            self.say(f"  {name(workspace)}: {words[1]} ({words[0]})")

    def _newest_progress(self) -> str:
        pods = self._laptop.cluster.list(self._laptop.cluster.resource("v1", "Pod"))
        for pod in pods:
            if WORKSPACE_LABEL not in labels(pod):
                continue
            container = _running(pod)
            if container is not None:
                last = _last_line(self._laptop.state, pod, container)
                return f"  {name(pod)} {container}: {last}" if last else ""
        return ""

    def pass_on(self, text: str) -> None:
        """Show a line that the next one replaces."""
        if not text or text == self._passing:
            return
        if self._out.isatty():
            self._clear()
            print(text[:120], end="", file=self._out, flush=True)
        elif time.monotonic() - self._passed < QUIET_SECONDS:
            return
        else:
            print(text, file=self._out, flush=True)
        self._passing, self._passed = text, time.monotonic()

    def _clear(self) -> None:
        if self._passing and self._out.isatty():
            print("\r\x1b[K", end="", file=self._out)
            self._passing = ""


def _running(pod: Manifest) -> str | None:
    """Return the container that works; a server that is ready has no progress to tell."""
    status = pod.get("status") or {}
    statuses: Sequence[Manifest] = [
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ]
    for each in statuses:
        if get(each, "state", "running") is not None and not each["ready"]:
            return str(each["name"])
    return None


def _last_line(state: Path, pod: Manifest, container: str) -> str:
    lines = tail(log_file(state, namespace(pod), name(pod), container)).splitlines()
    return lines[-1] if lines else ""
