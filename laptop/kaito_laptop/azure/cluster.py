"""A managed cluster and its agent pools, with the semantics that AKS documents.

Nothing here runs by itself: what time brings about happens when `advance` is called.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.azure import conflicts, rules
from kaito_laptop.azure.answers import Answer, Request, ok, refused
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.conflicts import Conflict
from kaito_laptop.azure.faults import Faults
from kaito_laptop.azure.gateway import Policy
from kaito_laptop.azure.machines import Machines
from kaito_laptop.azure.nodes import Nodes
from kaito_laptop.azure.operations import Operations
from kaito_laptop.azure.pool import Pool, missing, properties_in
from kaito_laptop.azure.pools import Pools
from kaito_laptop.azure.throttle import Throttle
from kaito_laptop.azure.whole import WholeCluster
from kaito_laptop.core.clock import Clock

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(slots=True)
class _Later:
    """A request that is on its way for a long time."""

    due: float
    apply: Callable[[], object] = field(repr=False)


class ManagedCluster:
    """One cluster with one pool of mode System, unless AKS hosts that itself."""

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        gpus: Mapping[str, int],
        *,
        subscription: str = SUBSCRIPTION,
        resource_group: str = "laptop",
        name: str = "laptop",
        create_seconds: float = 240,
        delete_seconds: float = 120,
        is_deletable_while_creating: bool = True,
        one_operation_at_a_time: bool = False,
        page_size: int = 100,
        compute: Compute | None = None,
        memory: Mapping[str, str] | None = None,
        version: str = "1.34.2",
        most_pools: int = rules.MOST_POOLS,
        hosted_system: bool = False,
        hides_etags: bool = False,
        preempts: bool = False,
        not_found_code: str = "NotFound",
    ) -> None:
        """`gpus` are those of each size with NVIDIA GPUs, `memory` is that of each size, 64Gi if it is not named.

        With `preempts`, a DELETE ends what AKS itself has begun, and fails the cluster
        (kaito-project/kaito#2075); without it, the DELETE is refused.
        """
        self._whole = WholeCluster(
            f"/subscriptions/{subscription}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.ContainerService/managedClusters/{name}",
            f"MC_{resource_group}_{name}_laptop",
            version,
            most_pools,
            hosted_system,
        )
        self.id, self.name = self._whole.id, name
        self.subscription = f"/subscriptions/{subscription}"
        self.lock = ""
        """The management lock on the resource group: CanNotDelete or ReadOnly."""
        self.is_subscription_disabled = False
        self.policy: Policy | None = None
        self.preempted: list[tuple[str, str, str]] = []
        """Verb, pool and state of each DELETE that came while AKS itself was at work, refused or not."""
        self.faults = Faults()
        self.throttle = Throttle(subscription)
        self.compute = compute or Compute()
        self.compute.sizes |= set(gpus)
        self.operations = Operations(
            f"{self.subscription}/providers/Microsoft.ContainerService"
            f"/locations/{self.compute.region}/operations"
        )
        self.page_size = page_size
        self._clock = clock
        machines = Machines(
            clock,
            nodes,
            self.compute,
            f"subscriptions/{subscription}/resourceGroups/{self._whole.node_group}",
            {size.lower(): count for size, count in gpus.items()},
            {size.lower(): amount for size, amount in (memory or {}).items()},
        )
        self._create_seconds = create_seconds
        self._delete_seconds = delete_seconds
        self._is_deletable_while_creating = is_deletable_while_creating
        self._one_at_a_time = one_operation_at_a_time
        self._hides_etags = hides_etags
        self._preempts = preempts
        self._not_found_code = not_found_code
        self._lock = threading.RLock()
        self._pools = Pools(machines, self.operations)
        self._later: list[_Later] = []
        if not hosted_system:
            self.add_pool("system", mode="System", count=1)

    def advance(self) -> None:
        """Let happen what is due by now."""
        with self._lock:
            now = self._clock.seconds()
            for late in [item for item in self._later if item.due <= now]:
                self._later.remove(late)
                late.apply()
            self._pools.advance()

    def next_change(self) -> float | None:
        """When `advance` has something to do, in the clock's seconds."""
        with self._lock:
            moments = (self._pools.next_change(), *(item.due for item in self._later))
            return min((at for at in moments if at is not None), default=None)

    def seconds_to_next_change(self) -> float | None:
        """How long nothing happens by itself; None for ever."""
        due = self.next_change()
        return None if due is None else max(due - self._clock.seconds(), 0)

    def schedule(self, seconds: float, apply: Callable[[], object]) -> None:
        """Carry something out later."""
        with self._lock:
            self._later.append(_Later(self._clock.seconds() + seconds, apply))

    def pool_names(self, mode: str = "User") -> list[str]:
        """The pools that exist, whoever made them."""
        with self._lock:
            pools = self._pools.by_name.values()
            return sorted(pool.name for pool in pools if pool.properties["mode"] == mode)

    def add_pool(self, name: str, **properties: Any) -> None:
        """Put a pool there that no request asked for."""
        with self._lock:
            given = {"vmSize": "Standard_D4s_v5", "mode": "User", "provisioningState": "Succeeded"}
            self._pools.add(name, {**given, **properties})

    def set_pool(self, name: str, **properties: Any) -> None:
        """Change a pool from outside, such as a policy that strips its tags."""
        with self._lock:
            pool = self._pools.by_name[name]
            pool.properties.update(properties)
            self._pools.renew_etag(pool)

    def occupy(self, state: str, seconds: float, power: str = "Running") -> None:
        """Let the cluster itself be under way, such as Upgrading, Starting or Stopping."""
        with self._lock:
            self._whole.begin(state, self._clock.seconds() + seconds, power)
            for pool in self._pools.by_name.values():
                self._pools.renew_etag(pool)

    def begin_own_operation(self, state: str, seconds: float, pool: str | None = None) -> None:
        """Let AKS itself begin something with one pool, or with the cluster.

        A pool that is Upgrading or UpgradingNodeImageVersion gets another Node.
        """
        with self._lock:
            if pool is None:
                self.occupy(state, seconds, "Stopped" if state == "Stopping" else "Running")
                return
            self._pools.begin(self._pools.by_name[pool], state, seconds, is_own=True)
            self.operations.begin(pool)

    def throttled(self, verb: str, pool: str) -> Answer | None:
        """The 429 for one request too many."""
        with self._lock:
            return self.throttle.refusal(verb, pool, self._clock.seconds())

    def usages(self) -> Answer:
        """GET of the quota of the region."""
        with self._lock:
            return self.compute.usages(self._pools.properties())

    def get(self, name: str) -> Answer:
        """GET of a pool."""
        with self._lock:
            pool = self._pools.by_name.get(name)
            return missing(self._not_found_code) if pool is None else ok(200, self._body(pool))

    def list(self, offset: int, base_url: str) -> Answer:
        """GET of all pools, a page of them."""
        with self._lock:
            bodies = [self._body(pool) for _, pool in sorted(self._pools.by_name.items())]
        body: dict[str, Any] = {"value": bodies[offset : offset + self.page_size]}
        if offset + self.page_size < len(bodies):
            link = f"{base_url}{self.id}/agentPools?$skipToken={offset + self.page_size}"
            body["nextLink"] = link
        return ok(200, body)

    def cluster(self) -> Answer:
        """GET of the cluster itself."""
        with self._lock:
            profiles = [
                {"name": pool.name, **self._body(pool)["properties"]}
                for _, pool in sorted(self._pools.by_name.items())
            ]
            return ok(200, self._whole.body(self.compute.region, self._clock.seconds(), profiles))

    def put(self, name: str, request: Request, base_url: str = "") -> Answer:
        """PUT of a pool: create or update, unless a condition or a rule forbids it."""
        with self._lock:
            pool = self._pools.by_name.get(name)
            properties = properties_in(request.body)
            refusal = conflicts.unmet_condition(request, pool) or self._unacceptable(
                name, properties
            )
            if refusal is not None:
                return refusal
            conflict = self._conflict(pool)
            if conflict is not None:
                return conflict.answer
            if pool is not None:
                return self._updated(pool, properties)
            if len(self._pools.by_name) >= self._whole.most_pools:
                return rules.too_many(self._whole.most_pools)
            refusal = self.compute.refusal(name, properties, self._pools.properties())
            return refusal or self._created(name, properties, base_url)

    def delete(self, name: str, request: Request, base_url: str = "") -> Answer:
        """DELETE of a pool."""
        with self._lock:
            pool = self._pools.by_name.get(name)
            if pool is None:
                return ok(204)
            unmet = conflicts.unmet_condition(request, pool)
            if unmet is not None:
                return unmet
            if pool.state == "Deleting":
                return ok(202)
            is_asked_for = pool.due is not None and not pool.is_own
            is_waiting = not (is_asked_for and self._is_deletable_while_creating)
            conflict = self._conflict(pool if is_waiting else None)
            if conflict is not None and not self._is_preempted(name, conflict):
                return conflict.answer
            self._pools.begin(pool, "Deleting", self._delete_seconds)
            headers = self.operations.headers(self.operations.begin(name), base_url)
            return ok(202, None, **headers)

    def _is_preempted(self, pool: str, conflict: Conflict) -> bool:
        """Whether a DELETE ends what is in its way."""
        if not conflict.is_own:
            return False
        self.preempted.append(("DELETE", pool, conflict.state))
        if not self._preempts or self._whole.is_stopped:
            return False
        self._whole.fail(self._clock.seconds())
        return True

    def _conflict(self, pool: Pool | None) -> Conflict | None:
        """The operation that a change would have to wait for."""
        conflict = conflicts.of_cluster(self._whole, self._clock.seconds())
        if conflict is not None:
            return conflict
        if pool is not None and pool.due is not None:
            return conflicts.of_pool(pool)
        busy = (item for item in self._pools.by_name.values() if item.due is not None)
        other = next((item for item in busy if item is not pool), None)
        return conflicts.of_other_pool(other) if other and self._one_at_a_time else None

    def _unacceptable(self, name: str, properties: Mapping[str, Any]) -> Answer | None:
        if not _POOL_NAME.fullmatch(name) or not properties.get("vmSize"):
            return refused(400, "InvalidParameter", "The name or the vmSize is not valid.")
        place = rules.Place(self.compute.region, self.compute.zones, self._whole.version)
        return rules.refusal(name, properties, place)

    def _body(self, pool: Pool) -> dict[str, Any]:
        return pool.body(self.id, hides_etag=self._hides_etags)

    def _created(self, name: str, properties: dict[str, Any], base_url: str) -> Answer:
        fate = self.faults.fate()
        seconds = self._create_seconds if fate.seconds is None else fate.seconds
        pool = self._pools.create(name, {"mode": "User", **properties}, fate, seconds)
        headers = self.operations.headers(self.operations.begin(name), base_url)
        return ok(201, self._body(pool), **headers)

    def _updated(self, pool: Pool, properties: dict[str, Any]) -> Answer:
        pool.properties.update(properties)
        self._pools.begin(pool, "Updating", self._create_seconds)
        return ok(200, self._body(pool))
