"""A managed cluster and its agent pools, with the semantics that AKS documents.

Nothing here runs by itself: what time brings about happens when `advance` is called.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kaito_laptop.arm.answers import Answer, Request, error, ok
from kaito_laptop.arm.faults import Fate, Faults
from kaito_laptop.arm.nodes import node, node_name
from kaito_laptop.clock import Clock, timestamp
from kaito_laptop.cluster import Manifest

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


class Nodes(Protocol):
    """Where Nodes join and leave."""

    def add(self, manifest: Manifest) -> None:
        """A Node has joined."""
        ...

    def remove(self, name: str) -> None:
        """A Node is gone."""
        ...


@dataclass(slots=True)
class _Pool:
    name: str
    properties: dict[str, Any]
    fate: Fate
    etag: str
    due: float | None = None
    """When its operation ends."""
    has_node: bool = False
    error: Mapping[str, Any] | None = None

    @property
    def state(self) -> str:
        return str(self.properties["provisioningState"])


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
        page_size: int = 100,
    ) -> None:
        self.id = (
            f"/subscriptions/{subscription}/resourceGroups/{resource_group}"
            f"/providers/Microsoft.ContainerService/managedClusters/{name}"
        )
        self.name = name
        self.faults = Faults()
        self.page_size = page_size
        self._clock = clock
        self._nodes = nodes
        self._gpus = {size.lower(): count for size, count in gpus.items()}
        self._node_group = (
            f"subscriptions/{subscription}/resourceGroups/MC_{resource_group}_{name}_laptop"
        )
        self._create_seconds = create_seconds
        self._delete_seconds = delete_seconds
        self._is_deletable_while_creating = is_deletable_while_creating
        self._lock = threading.RLock()
        self._pools: dict[str, _Pool] = {}
        self._later: list[_Later] = []
        self._etags = 0
        system = {"vmSize": "Standard_D4s_v5", "mode": "System", "count": 1}
        system["provisioningState"] = "Succeeded"
        self._pools["system"] = _Pool("system", system, Fate(), self._next_etag())

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
            self._pools[name] = _Pool(name, {**given, **properties}, Fate(), self._next_etag())

    def set_pool(self, name: str, **properties: Any) -> None:
        """Change a pool from outside, such as a policy that strips its tags."""
        with self._lock:
            pool = self._pools[name]
            pool.properties.update(properties)
            pool.etag = self._next_etag()

    def get(self, name: str) -> Answer:
        """GET of a pool."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                return error(404, "NotFound", f"Agent Pool {name} not found.")
            return ok(200, self._body(pool))

    def list(self, offset: int, base_url: str) -> Answer:
        """GET of all pools, a page of them."""
        with self._lock:
            bodies = [self._body(self._pools[name]) for name in sorted(self._pools)]
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
        properties = {"provisioningState": "Succeeded", "agentPoolProfiles": profiles}
        return ok(200, {"id": self.id, "name": self.name, "properties": properties})

    def put(self, name: str, request: Request) -> Answer:
        """PUT of a pool: create or update, unless a condition forbids it."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is not None and request.headers.get("if-none-match") == "*":
                return _unmet("The agent pool already exists.")
            if "if-match" in request.headers and not _matches(request, pool):
                return _unmet("The etag does not match.")
            properties = _properties(request.body)
            if not _POOL_NAME.fullmatch(name) or not properties.get("vmSize"):
                return error(400, "InvalidParameter", "The name or the vmSize is not valid.")
            if pool is not None and pool.due is not None:
                return _busy(name, pool.state)
            return (
                self._created(name, properties) if pool is None else self._updated(pool, properties)
            )

    def delete(self, name: str, request: Request) -> Answer:
        """DELETE of a pool."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                return ok(204)
            if "if-match" in request.headers and not _matches(request, pool):
                return _unmet("The etag does not match.")
            if pool.state == "Deleting":
                return ok(202)
            if pool.due is not None and not self._is_deletable_while_creating:
                return _busy(name, pool.state)
            self._set_state(pool, "Deleting", self._clock.seconds() + self._delete_seconds)
            return ok(202)

    def _created(self, name: str, properties: dict[str, Any]) -> Answer:
        fate = self.faults.fate()
        seconds = self._create_seconds if fate.seconds is None else fate.seconds
        properties = {"mode": "User", **properties, "provisioningState": "Creating"}
        pool = _Pool(name, properties, fate, self._next_etag(), self._clock.seconds() + seconds)
        self._pools[name] = pool
        return ok(201, self._body(pool))

    def _updated(self, pool: _Pool, properties: dict[str, Any]) -> Answer:
        pool.properties.update(properties)
        self._set_state(pool, "Updating", self._clock.seconds() + self._create_seconds)
        return ok(200, self._body(pool))

    def _end(self, pool: _Pool) -> None:
        """The operation of a pool is over."""
        if pool.state == "Deleting":
            del self._pools[pool.name]
            self._leave(pool)
            return
        self._set_state(pool, pool.fate.state, None)
        pool.error = pool.fate.error
        if pool.fate.state == "Succeeded" and pool.fate.has_node and not pool.has_node:
            pool.has_node = True
            self._nodes.add(self._node(pool))

    def _leave(self, pool: _Pool) -> None:
        if pool.has_node:
            pool.has_node = False
            self._nodes.remove(node_name(pool.name))

    def _node(self, pool: _Pool) -> Manifest:
        size = str(pool.properties["vmSize"]).lower()
        gpus = self._gpus.get(size, 0) if pool.fate.gpus is None else pool.fate.gpus
        return node(
            pool.name,
            pool.properties,
            gpus=gpus,
            is_ready=pool.fate.is_ready,
            node_resource_group=self._node_group,
            now=timestamp(self._clock.now()),
        )

    def _set_state(self, pool: _Pool, state: str, due: float | None) -> None:
        pool.properties["provisioningState"] = state
        pool.due = due
        pool.etag = self._next_etag()

    def _next_etag(self) -> str:
        self._etags += 1
        return f"etag-{self._etags}"

    def _body(self, pool: _Pool) -> dict[str, Any]:
        properties = {**pool.properties, "eTag": pool.etag}
        properties.setdefault("powerState", {"code": "Running"})
        if pool.error is not None:
            properties["status"] = {"provisioningError": pool.error}
        return {
            "id": f"{self.id}/agentPools/{pool.name}",
            "name": pool.name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "properties": properties,
        }


def _properties(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)["properties"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _matches(request: Request, pool: _Pool | None) -> bool:
    wanted = request.headers["if-match"].removeprefix("W/").strip('"')
    return pool is not None and wanted in ("*", pool.etag)


def _unmet(message: str) -> Answer:
    return error(412, "PreconditionFailed", message)


def _busy(name: str, state: str) -> Answer:
    return error(
        409,
        "OperationNotAllowed",
        f"Another operation ({name} - {state}) is in progress, please wait for it to finish.",
    )
