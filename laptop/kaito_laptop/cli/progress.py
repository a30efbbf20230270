"""What is news of the Workspaces of a running cluster: rows that change, why they wait, progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kaito_hooks.api import labels as keys
from kaito_laptop.cli.laptop import Laptop
from kaito_laptop.cli.screen import Screen
from kaito_laptop.cli.table import line, printed_columns, row, widths
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.log_files import log_file, tail
from kaito_laptop.core.objects import condition, get, labels, name, namespace, uid


class Progress:
    """Says what is news each time it is asked to look."""

    def __init__(self, laptop: Laptop, screen: Screen) -> None:
        self._laptop = laptop
        self._screen = screen
        self._rows: dict[str, list[str]] = {}
        self._reasons: dict[str, tuple[str, str]] = {}
        self._names: dict[str, str] = {}
        """Of the Workspaces of the last look, by uid."""
        self._sizes: list[int] = []

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
                header = [column.title.upper() for column in columns]
                self._screen.say(line(header, sizes))
            self._screen.say(line(cells, self._sizes))
        for manifest in found:
            self._say_reason(manifest)
        living = {uid(manifest): name(manifest) for manifest in found}
        for gone in self._names.keys() - living.keys():
            self._screen.say(f"{self._names[gone]} is gone")
        self._names = living
        self._screen.pass_on(self._newest_line())

    def _say_reason(self, workspace: Manifest) -> None:
        ready = condition(workspace, "Ready")
        if ready is None:
            return
        words = (ready["reason"], ready["message"])
        if self._reasons.get(uid(workspace)) != words:
            self._reasons[uid(workspace)] = words
            self._screen.say(f"  {name(workspace)}: {words[1]} ({words[0]})")

    def _newest_line(self) -> str:
        pods = self._laptop.cluster.list(self._laptop.cluster.resource("v1", "Pod"))
        for pod in pods:
            if keys.WORKSPACE not in labels(pod):
                continue
            container = _running(pod)
            if container is not None:
                last = _last_line(self._laptop.state, pod, container)
                return f"  {name(pod)} {container}: {last}" if last else ""
        return ""


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
