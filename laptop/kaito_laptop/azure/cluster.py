"""A managed cluster and its agent pools, with the semantics that AKS documents.

Nothing here runs by itself: what time brings about happens when `advance` is called.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_laptop.azure import conflicts, rules
from kaito_laptop.azure.answers import Answer, Request, ok, refused
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.conflicts import Conflict
from kaito_laptop.azure.interference import Interference, NoInterference
from kaito_laptop.azure.machines import Machines
from kaito_laptop.azure.nodes import Nodes
from kaito_laptop.azure.operations import Operations
from kaito_laptop.azure.pool import Pool, missing, properties_in
from kaito_laptop.azure.pools import Pools
from kaito_laptop.azure.throttle import Throttle
from kaito_laptop.azure.whole import WholeCluster
from kaito_laptop.core.clock import Clock

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
RESOURCE_GROUP = NAME = "laptop"
AS_MADE = {"vmSize": "Standard_D4s_v5", "mode": "User", "provisioningState": "Succeeded"}
"""Of a pool that nobody says more of."""
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """In what clusters differ, and in what AKS has been seen to differ; the defaults are a cluster of today."""

    create_seconds: float = 240
    delete_seconds: float = 120
    version: str = "1.34.2"
    most_pools: int = rules.MOST_POOLS
    hosted_system: bool = False
    """Whether AKS hosts the pool of mode System itself."""
    page_size: int = 100
    is_deletable_while_creating: bool = True
    one_operation_at_a_time: bool = False
    hides_etags: bool = False
    preempts: bool = False
    """Whether a DELETE ends what AKS itself has begun, and fails the cluster (kaito-project/kaito#2075).

    Without it the DELETE is refused.
    """
    not_found_code: str = "NotFound"


class ManagedCluster:
    """One cluster with one pool of mode System, unless AKS hosts that itself."""

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        compute: Compute,
        behaviour: Behaviour | None = None,
        interference: Interference | None = None,
    ) -> None:
        self.compute = compute
        self.behaviour = behaviour or Behaviour()
        self.interference = interference or NoInterference()
        self.subscription = f"/subscriptions/{SUBSCRIPTION}"
        self._whole = WholeCluster(
            f"{self.subscription}/resourceGroups/{RESOURCE_GROUP}"
            f"/providers/Microsoft.ContainerService/managedClusters/{NAME}",
            f"MC_{RESOURCE_GROUP}_{NAME}_laptop",
            self.behaviour.version,
            self.behaviour.most_pools,
            self.behaviour.hosted_system,
        )
        self.id = self._whole.id
        self.throttle = Throttle(SUBSCRIPTION)
        self.operations = Operations(
            f"{self.subscription}/providers/Microsoft.ContainerService"
            f"/locations/{compute.region}/operations"
        )
        self._clock = clock
        node_group = f"subscriptions/{SUBSCRIPTION}/resourceGroups/{self._whole.node_group}"
        self._lock = threading.RLock()
        self._pools = Pools(Machines(clock, nodes, compute, node_group), self.operations)
        if not self.behaviour.hosted_system:
            self._pools.add("system", {**AS_MADE, "mode": "System", "count": 1})

    def advance(self) -> None:
        """Let happen what is due by now."""
        with self._lock:
            self._pools.advance()

    def next_change(self) -> float | None:
        """When `advance` has something to do, in the clock's seconds."""
        with self._lock:
            return self._pools.next_change()

    def seconds_to_next_change(self) -> float | None:
        """How long nothing happens by itself; None for ever."""
        due = self.next_change()
        return None if due is None else max(due - self._clock.seconds(), 0)

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
            return (
                missing(self.behaviour.not_found_code)
                if pool is None
                else ok(200, self._body(pool))
            )

    def list(self, offset: int, base_url: str) -> Answer:
        """GET of all pools, a page of them."""
        with self._lock:
            bodies = [self._body(pool) for _, pool in sorted(self._pools.by_name.items())]
        body: dict[str, Any] = {"value": bodies[offset : offset + self.behaviour.page_size]}
        if offset + self.behaviour.page_size < len(bodies):
            link = f"{base_url}{self.id}/agentPools?$skipToken={offset + self.behaviour.page_size}"
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
            if len(self._pools.by_name) >= self.behaviour.most_pools:
                return rules.too_many(self.behaviour.most_pools)
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
            is_waiting = not (is_asked_for and self.behaviour.is_deletable_while_creating)
            conflict = self._conflict(pool if is_waiting else None)
            if conflict is not None and not self._is_preempted(name, conflict):
                return conflict.answer
            self._pools.begin(pool, "Deleting", self.behaviour.delete_seconds)
            headers = self.operations.headers(self.operations.begin(name), base_url)
            return ok(202, None, **headers)

    def _is_preempted(self, _pool: str, conflict: Conflict) -> bool:
        """Whether a DELETE ends what is in its way."""
        if not conflict.is_own or not self.behaviour.preempts or self._whole.is_stopped:
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
        return (
            conflicts.of_other_pool(other)
            if other and self.behaviour.one_operation_at_a_time
            else None
        )

    def _unacceptable(self, name: str, properties: Mapping[str, Any]) -> Answer | None:
        if not _POOL_NAME.fullmatch(name) or not properties.get("vmSize"):
            return refused(400, "InvalidParameter", "The name or the vmSize is not valid.")
        place = rules.Place(self.compute.region, self.compute.zones, self._whole.version)
        return rules.refusal(rules.Requested(name, properties, place))

    def _body(self, pool: Pool) -> dict[str, Any]:
        return pool.body(self.id, hides_etag=self.behaviour.hides_etags)

    def _created(self, name: str, properties: dict[str, Any], base_url: str) -> Answer:
        outcome = self.interference.outcome()
        seconds = self.behaviour.create_seconds if outcome.seconds is None else outcome.seconds
        pool = self._pools.create(name, {"mode": "User", **properties}, outcome, seconds)
        headers = self.operations.headers(self.operations.begin(name), base_url)
        return ok(201, self._body(pool), **headers)

    def _updated(self, pool: Pool, properties: dict[str, Any]) -> Answer:
        pool.properties.update(properties)
        self._pools.begin(pool, "Updating", self.behaviour.create_seconds)
        return ok(200, self._body(pool))
