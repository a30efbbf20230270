"""The pools of a cluster, and what time does to them.

Nothing here runs by itself: what time brings about happens when `advance` is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaito_laptop.azure.interference import Outcome
from kaito_laptop.azure.machines import Machines
from kaito_laptop.azure.operations import Operations
from kaito_laptop.azure.pool import ENDS, Pool

REPLACING = ("Upgrading", "UpgradingNodeImageVersion")
"""Operations of AKS that give each virtual machine of a pool a new image."""


class Pools:
    """By name; each is in at most one operation."""

    def __init__(self, machines: Machines, operations: Operations) -> None:
        self.by_name: dict[str, Pool] = {}
        self._machines = machines
        self._operations = operations
        self._etags = 0

    def add(self, name: str, properties: dict[str, Any], outcome: Outcome | None = None) -> Pool:
        """A pool is there."""
        pool = Pool(name, properties, outcome or Outcome())
        self.by_name[name] = pool
        self.renew_etag(pool)
        return pool

    def create(
        self, name: str, properties: dict[str, Any], outcome: Outcome, seconds: float
    ) -> Pool:
        """A pool is asked for; it fails when no virtual machine is free."""
        pool = self.add(name, properties, outcome)
        failure = self._machines.compute.take(properties)
        pool.has_machine = failure is None
        if failure is not None:
            pool.outcome = Outcome("Failed", failure)
        self.begin(pool, "Creating", seconds)
        return pool

    def properties(self) -> Sequence[Mapping[str, Any]]:
        """Of all pools."""
        return [pool.properties for pool in self.by_name.values()]

    def renew_etag(self, pool: Pool) -> None:
        """AKS has written the pool: its eTag is another one."""
        self._etags += 1
        pool.etag = f"00000000-0000-4000-8000-{self._etags:012d}"

    def begin(self, pool: Pool, state: str, seconds: float, *, is_own: bool = False) -> None:
        """An operation starts, on request or of AKS' own."""
        now = self._machines.clock.seconds()
        pool.properties["provisioningState"] = state
        pool.is_own = is_own
        pool.due, pool.halfway = now + seconds, now + seconds / 2
        self.renew_etag(pool)
        if is_own and state in REPLACING and pool.numbers and not _surge(pool):
            self._machines.join(pool, pool.numbers[0], is_ready=False)

    def next_change(self) -> float | None:
        """When `advance` has something to do, in the clock's seconds."""
        moments = (at for pool in self.by_name.values() for at in (pool.halfway, pool.due))
        return min((at for at in moments if at is not None), default=None)

    def advance(self) -> None:
        """Let happen what is due by now."""
        now = self._machines.clock.seconds()
        for pool in list(self.by_name.values()):
            if pool.halfway is not None and pool.halfway <= now:
                pool.halfway = None
                self._half(pool)
            if pool.due is not None and pool.due <= now:
                pool.due = None
                self._end(pool)

    def _half(self, pool: Pool) -> None:
        """AKS writes a pool during an operation as well, so that an eTag may be stale at its end."""
        self.renew_etag(pool)
        if not (pool.is_own and pool.state in REPLACING and pool.numbers):
            return
        number = pool.numbers[-1]
        if _surge(pool):
            self._machines.join(pool, number + 1)
        else:
            self._machines.leave(pool, number)
            pool.replaced = number

    def _end(self, pool: Pool) -> None:
        """The operation of a pool is over."""
        self.renew_etag(pool)
        operation = self._operations.of_pool.get(pool.name)
        if pool.state == "Deleting":
            del self.by_name[pool.name]
            self._machines.give_back(pool)
            if operation is not None:
                operation.end("Succeeded")
            return
        status = "Succeeded"
        if pool.is_own:
            self._end_own(pool)
        else:
            status = self._end_requested(pool)
        if operation is not None and pool.state in ENDS:
            operation.end(status, pool.error)

    def _end_requested(self, pool: Pool) -> str:
        """What becomes of a request, and how its operation calls that."""
        pool.properties["provisioningState"] = pool.outcome.state
        pool.error = pool.outcome.error
        if pool.outcome.state == "Succeeded" and pool.outcome.has_node and not pool.numbers:
            self._machines.join(pool)
        return pool.outcome.operation or pool.state

    def _end_own(self, pool: Pool) -> None:
        if pool.replaced is not None:
            self._machines.join(pool, pool.replaced)
            pool.replaced = None
        for number in pool.numbers[:-1]:
            self._machines.leave(pool, number)
        pool.is_own = False
        pool.properties["provisioningState"] = "Succeeded"
        pool.error = None


def _surge(pool: Pool) -> bool:
    """Whether a new virtual machine joins before an old one leaves; it does if nobody says otherwise."""
    settings = pool.properties.get("upgradeSettings") or {}
    return str(settings.get("maxSurge", "1")) not in ("0", "0%")
