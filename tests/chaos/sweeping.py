"""The orphan sweep in a run: every two minutes, with the same faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from kaito_hooks.providers.aks.sweep.orphans import KubernetesCluster
from kaito_hooks.providers.aks.sweep.sweep import Azure, Report, sweep

from tests.chaos.fault_schedule import FaultSchedule

SECONDS = 120
NODE_GROUP = "mc_laptop_laptop_laptop"


class Sweeper:
    """Calls the sweep, and is the API server for it."""

    def __init__(
        self,
        azure: Azure,
        now: Callable[[], datetime],
        schedule: FaultSchedule,
        living: Callable[[], frozenset[str]],
    ) -> None:
        self._azure, self._now, self._schedule, self._living = azure, now, schedule, living
        self._memory: dict[str, datetime] = {}
        self.due = 0.0

    def sweep(self, seconds: float) -> Report:
        """One sweep."""
        self.due = seconds + SECONDS
        return sweep(self._azure, self, self._now, "test", may_delete=True)

    def cluster(self) -> KubernetesCluster | None:
        """The Machines that exist, unless their list breaks off."""
        seconds = self.due - SECONDS
        if self._schedule.happens("Machines not listed", self._schedule.share / 2, seconds):
            return None
        created = datetime(2025, 1, 1, tzinfo=UTC)
        return KubernetesCluster(self._living(), frozenset({NODE_GROUP}), created)

    def remembered(self) -> Mapping[str, datetime]:
        """As it was kept."""
        return self._memory

    def remember(self, orphans: Mapping[str, datetime]) -> None:
        """Keep it."""
        self._memory = dict(orphans)
