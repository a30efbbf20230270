"""A managed cluster and its agent pools, with the semantics that AKS documents.

Nothing here runs by itself: what time brings about happens when `advance` is called.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.arm.answers import Answer, Request, error, ok
from kaito_laptop.arm.compute import Compute
from kaito_laptop.arm.faults import Fate, Faults
from kaito_laptop.arm.nodes import Nodes, node, node_name
from kaito_laptop.arm.operations import Operations
from kaito_laptop.arm.pool import ENDS, Pool, busy, matches, properties_in, unmet
from kaito_laptop.arm.throttle import Throttle
from kaito_laptop.clock import Clock, timestamp
from kaito_laptop.cluster import Manifest

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(slots=True)
class _Later:
    """A request that is on its way for a long time."""

    due: float
    apply: Callable[[], object] = field(repr=False)


class ManagedCluster:
    """One cluster with one pool of mode System."""

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
    ) -> None:
        """`gpus` are those of each size with NVIDIA GPUs, `memory` is that of each size, 64Gi if it is not named."""
        self.id = (
            f"/subscriptions/{subscription}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.ContainerService/managedClusters/{name}"
        )
        self.name = name
        self.subscription = f"/subscriptions/{subscription}"
        self.faults = Faults()
        self.throttle = Throttle()
        self.compute = compute or Compute()
        self.compute.sizes |= set(gpus)
        self.operations = Operations(
            f"{self.subscription}/providers/Microsoft.ContainerService"
            f"/locations/{self.compute.region}/operations"
        )
        self.page_size = page_size
        self._clock = clock
        self._nodes = nodes
        self._gpus = {size.lower(): count for size, count in gpus.items()}
        self._memory = {size.lower(): amount for size, amount in (memory or {}).items()}
        self._node_group = (
            f"subscriptions/{subscription}/resourceGroups/MC_{resource_group}_{name}_laptop"
        )
        self._create_seconds = create_seconds
        self._delete_seconds = delete_seconds
        self._is_deletable_while_creating = is_deletable_while_creating
        self._one_at_a_time = one_operation_at_a_time
        self._state, self._power, self._free_at = "Succeeded", "Running", 0.0
        self._lock = threading.RLock()
        self._pools: dict[str, Pool] = {}
        self._later: list[_Later] = []
        self._etags = 0
        system = {"vmSize": "Standard_D4s_v5", "mode": "System", "count": 1}
        system["provisioningState"] = "Succeeded"
        self._pools["system"] = Pool("system", system, Fate(), self._next_etag())

    def advance(self) -> None:
        """Let happen what is due by now."""
        with self._lock:
            now = self._clock.seconds()
            for late in [item for item in self._later if item.due <= now]:
                self._later.remove(late)
                late.apply()
            for pool in list(self._pools.values()):
                if pool.due is not None and pool.due <= now:
                    self._end(pool)

    def next_change(self) -> float | None:
        """When `advance` has something to do, in the clock's seconds."""
        with self._lock:
            due = [pool.due for pool in self._pools.values() if pool.due is not None]
            return min([*due, *(item.due for item in self._later)], default=None)

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
            return sorted(
                pool.name for pool in self._pools.values() if pool.properties["mode"] == mode
            )

    def add_pool(self, name: str, **properties: Any) -> None:
        """Put a pool there that no request asked for."""
        with self._lock:
            given = {"vmSize": "Standard_D4s_v5", "mode": "User", "provisioningState": "Succeeded"}
            self._pools[name] = Pool(name, {**given, **properties}, Fate(), self._next_etag())

    def set_pool(self, name: str, **properties: Any) -> None:
        """Change a pool from outside, such as a policy that strips its tags."""
        with self._lock:
            pool = self._pools[name]
            pool.properties.update(properties)
            pool.etag = self._next_etag()

    def occupy(self, state: str, seconds: float, power: str = "Running") -> None:
        """Let the cluster itself be under way, such as Upgrading, Starting or Stopping."""
        with self._lock:
            self._state, self._power = state, power
            self._free_at = self._clock.seconds() + seconds

    def throttled(self, verb: str, pool: str) -> Answer | None:
        """The 429 for one request too many."""
        with self._lock:
            return self.throttle.refusal(verb, pool, self._clock.seconds())

    def usages(self) -> Answer:
        """GET of the quota of the region."""
        with self._lock:
            return self.compute.usages([pool.properties for pool in self._pools.values()])

    def get(self, name: str) -> Answer:
        """GET of a pool."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                return error(404, "NotFound", f"Agent Pool {name} not found.")
            return ok(200, pool.body(self.id))

    def list(self, offset: int, base_url: str) -> Answer:
        """GET of all pools, a page of them."""
        with self._lock:
            bodies = [self._pools[name].body(self.id) for name in sorted(self._pools)]
        body: dict[str, Any] = {"value": bodies[offset : offset + self.page_size]}
        if offset + self.page_size < len(bodies):
            link = f"{base_url}{self.id}/agentPools?$skipToken={offset + self.page_size}"
            body["nextLink"] = link
        return ok(200, body)

    def cluster(self) -> Answer:
        """GET of the cluster itself."""
        with self._lock:
            profiles = [
                {"name": pool.name, **pool.properties} for _, pool in sorted(self._pools.items())
            ]
            state = self._state if self._is_occupied() else "Succeeded"
        properties: dict[str, Any] = {"provisioningState": state, "agentPoolProfiles": profiles}
        properties["powerState"] = {"code": self._power}
        properties["nodeResourceGroup"] = self._node_group.rpartition("/")[2]
        found = {"id": self.id, "name": self.name, "location": self.compute.region}
        return ok(200, {**found, "properties": properties})

    def put(self, name: str, request: Request, base_url: str = "") -> Answer:
        """PUT of a pool: create or update, unless a condition forbids it."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is not None and request.headers.get("if-none-match") == "*":
                return unmet("The agent pool already exists.")
            if "if-match" in request.headers and not matches(request, pool):
                return unmet("The etag does not match.")
            properties = properties_in(request.body)
            if not _POOL_NAME.fullmatch(name) or not properties.get("vmSize"):
                return error(400, "InvalidParameter", "The name or the vmSize is not valid.")
            in_the_way = self._in_the_way(pool)
            if in_the_way is not None:
                return in_the_way
            if pool is not None:
                return self._updated(pool, properties)
            refusal = self.compute.refusal(
                properties, [item.properties for item in self._pools.values()]
            )
            return refusal or self._created(name, properties, base_url)

    def delete(self, name: str, request: Request, base_url: str = "") -> Answer:
        """DELETE of a pool."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                return ok(204)
            if "if-match" in request.headers and not matches(request, pool):
                return unmet("The etag does not match.")
            if pool.state == "Deleting":
                return ok(202)
            is_own = pool.due is not None and self._is_deletable_while_creating
            in_the_way = self._in_the_way(None if is_own else pool)
            if in_the_way is not None:
                return in_the_way
            self._set_state(pool, "Deleting", self._clock.seconds() + self._delete_seconds)
            headers = self.operations.headers(self.operations.begin(name), base_url)
            return ok(202, None, **headers)

    def _in_the_way(self, pool: Pool | None) -> Answer | None:
        """The operation that a change would have to wait for."""
        if self._is_occupied():
            return busy(self.name, self._state)
        if pool is not None and pool.due is not None:
            return busy(pool.name, pool.state)
        others = (
            item for item in self._pools.values() if item.due is not None and item is not pool
        )
        other = next(others, None) if self._one_at_a_time else None
        return busy(other.name, other.state) if other else None

    def _is_occupied(self) -> bool:
        return self._power != "Running" or self._clock.seconds() < self._free_at

    def _created(self, name: str, properties: dict[str, Any], base_url: str) -> Answer:
        fate = self.faults.fate()
        seconds = self._create_seconds if fate.seconds is None else fate.seconds
        properties = {"mode": "User", **properties, "provisioningState": "Creating"}
        pool = Pool(name, properties, fate, self._next_etag(), self._clock.seconds() + seconds)
        failure = self.compute.take(properties)
        pool.has_machine = failure is None
        if failure is not None:
            pool.fate = Fate("Failed", failure, seconds=fate.seconds)
        self._pools[name] = pool
        headers = self.operations.headers(self.operations.begin(name), base_url)
        return ok(201, pool.body(self.id), **headers)

    def _updated(self, pool: Pool, properties: dict[str, Any]) -> Answer:
        pool.properties.update(properties)
        self._set_state(pool, "Updating", self._clock.seconds() + self._create_seconds)
        return ok(200, pool.body(self.id))

    def _end(self, pool: Pool) -> None:
        """The operation of a pool is over."""
        operation = self.operations.of_pool.get(pool.name)
        if pool.state == "Deleting":
            del self._pools[pool.name]
            self._leave(pool)
            if operation is not None:
                operation.end("Succeeded")
            return
        self._set_state(pool, pool.fate.state, None)
        pool.error = pool.fate.error
        if operation is not None and pool.state in ENDS:
            operation.end(pool.fate.operation or pool.state, pool.error)
        if pool.fate.state == "Succeeded" and pool.fate.has_node and not pool.has_node:
            pool.has_node = True
            self._nodes.add(self._node(pool))

    def _leave(self, pool: Pool) -> None:
        if pool.has_machine:
            self.compute.give_back(pool.properties)
        if pool.has_node:
            pool.has_node = False
            self._nodes.remove(node_name(pool.name))

    def _node(self, pool: Pool) -> Manifest:
        size = str(pool.properties["vmSize"]).lower()
        offered = self._gpus.get(size) if pool.fate.gpus is None else pool.fate.gpus
        return node(
            pool.name,
            pool.properties,
            gpus=offered if size in self._gpus else None,
            memory=self._memory.get(size, "64Gi"),
            is_ready=pool.fate.is_ready,
            node_resource_group=self._node_group,
            now=timestamp(self._clock.now()),
        )

    def _set_state(self, pool: Pool, state: str, due: float | None) -> None:
        pool.properties["provisioningState"] = state
        pool.due = due
        pool.etag = self._next_etag()

    def _next_etag(self) -> str:
        self._etags += 1
        return f"etag-{self._etags}"
