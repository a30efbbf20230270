"""The ARM stand-in in the hands of a test: faults, scripted outcomes, and doors that Azure does not have."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kaito_laptop.azure.answers import Answer, Request, error, ok, refused
from kaito_laptop.azure.cluster import AS_MADE, Behaviour, ManagedCluster
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.conflicts import Conflict
from kaito_laptop.azure.interference import Handled, Outcome
from kaito_laptop.azure.nodes import Nodes
from kaito_laptop.azure.router import Router
from kaito_laptop.azure.server import ArmServer
from kaito_laptop.core.clock import Clock

from tests.harness import arm_guards
from tests.harness.arm_guards import Guards

Verb = Literal["GET", "LIST", "PUT", "DELETE", "CLUSTER", "SKUS", "USAGES", "OPERATION"]
"""GET is of one pool, CLUSTER of the managed cluster, SKUS and USAGES of Microsoft.Compute."""
Shape = Literal["wrapped", "flat", "details", "inner"]
"""Where code and message stand in a failure: AKS has answered in each of these ways."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One answer that is not the usual one."""

    status: int | None = None
    """Answered instead of what AKS would say."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_applied: bool = False
    """Whether the request is carried out all the same."""
    applied_after_seconds: float | None = None
    """Carried out so much later, on the clock of the cluster."""
    is_dropped: bool = False
    """The connection ends without an answer."""
    delay_seconds: float = 0
    """Real seconds before the answer."""


class Faults:
    """Consumed in order, each once; an empty queue is a cloud in good health."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Fault]] = {}
        self._lasting: dict[str, Fault] = {}
        self._outcomes: deque[Outcome] = deque()

    def add(self, verb: Verb, fault: Fault, times: int = 1) -> None:
        """Queue a fault for the next requests of that verb."""
        with self._lock:
            self._queues.setdefault(verb, deque()).extend([fault] * times)

    def always(self, verb: Verb, fault: Fault | None) -> None:
        """Answer all requests of that verb so, once the queue is empty; None ends it."""
        with self._lock:
            if fault is None:
                self._lasting.pop(verb, None)
            else:
                self._lasting[verb] = fault

    def script_next(self, *outcomes: Outcome) -> None:
        """Say what becomes of the next pools."""
        with self._lock:
            self._outcomes.extend(outcomes)

    def unscript(self) -> None:
        """Let all further pools succeed."""
        with self._lock:
            self._outcomes.clear()

    def take(self, verb: str) -> Fault | None:
        """The fault for this request, if any."""
        with self._lock:
            queue = self._queues.get(verb)
            return queue.popleft() if queue else self._lasting.get(verb)

    def outcome(self) -> Outcome:
        """What becomes of the pool that is made now."""
        with self._lock:
            return self._outcomes.popleft() if self._outcomes else Outcome()


class ScriptedCluster(ManagedCluster):
    """A cluster that a test owns; it steps into its own requests."""

    def __init__(
        self,
        clock: Clock,
        nodes: Nodes,
        gpus: Mapping[str, int],
        *,
        memory: Mapping[str, str] | None = None,
        compute: Compute | None = None,
        **behaviour: Any,
    ) -> None:
        """The keywords beyond are those of `Behaviour`."""
        compute = compute or Compute()
        compute.gpus, compute.memory = gpus, memory or {}
        self.faults = Faults()
        self.guards = Guards()
        self.preempted: list[tuple[str, str, str]] = []
        """Verb, pool and state of each DELETE that came while AKS itself was at work, refused or not."""
        self._later: list[tuple[float, Callable[[], object]]] = []
        super().__init__(clock, nodes, compute, Behaviour(**behaviour), self)

    def refusal(self, verb: str, pool: str, request: Request, /) -> Answer | None:
        """Why the owner of the subscription does not let a change through."""
        return arm_guards.refusal(self.guards, self.id, verb, pool, request)

    def carried_out(self, verb: str, carry_out: Callable[[], Answer], /) -> Handled:
        """As the faults say."""
        fault = self.faults.take(verb)
        if fault is None:
            return Handled(carry_out())
        is_plain = fault.status is None and not fault.is_dropped
        usual = carry_out() if fault.is_applied or is_plain else None
        if fault.applied_after_seconds is not None:
            due = self._clock.seconds() + fault.applied_after_seconds
            with self._lock:
                self._later.append((due, carry_out))
        if fault.is_dropped:
            return Handled(None, fault.delay_seconds)
        if fault.status is None:
            return Handled(usual, fault.delay_seconds)
        headers = {"Content-Type": "application/json", **fault.headers}
        return Handled(Answer(fault.status, fault.body, headers), fault.delay_seconds)

    def outcome(self) -> Outcome:
        """What becomes of the pool that is made now."""
        return self.faults.outcome()

    def advance(self) -> None:
        """Let happen what is due by now, late requests first."""
        with self._lock:
            now = self._clock.seconds()
            due = [late for late in self._later if late[0] <= now]
            self._later = [late for late in self._later if late[0] > now]
            for _, carry_out in due:
                carry_out()
            super().advance()

    def next_change(self) -> float | None:
        """When `advance` has something to do, in the clock's seconds."""
        with self._lock:
            moments = (super().next_change(), *(due for due, _ in self._later))
            return min((at for at in moments if at is not None), default=None)

    def pool_names(self, mode: str = "User") -> list[str]:
        """The pools that exist, whoever made them."""
        with self._lock:
            pools = self._pools.by_name.values()
            return sorted(pool.name for pool in pools if pool.properties["mode"] == mode)

    def add_pool(self, name: str, **properties: Any) -> None:
        """Put a pool there that no request asked for."""
        with self._lock:
            self._pools.add(name, {**AS_MADE, **properties})

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

    def _is_preempted(self, pool: str, conflict: Conflict) -> bool:
        if conflict.is_own:
            self.preempted.append(("DELETE", pool, conflict.state))
        return super()._is_preempted(pool, conflict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a test looks back on it."""

    verb: str
    pool: str
    status: int
    """0 for a dropped connection."""


class RecordingRouter(Router):
    """Remembers what was asked."""

    def __init__(self, cluster: ManagedCluster, base_url: Callable[[], str]) -> None:
        super().__init__(cluster, base_url)
        self.asked: list[Asked] = []

    def handle(self, request: Request) -> Handled:
        """Answer, and take note."""
        handled = super().handle(request)
        verb, pool, _ = self.route(request)
        self.asked.append(Asked(verb, pool, handled.answer.status if handled.answer else 0))
        return handled


class ScriptedArmServer(ArmServer):
    """Serves a scripted cluster and remembers the requests."""

    cluster: ScriptedCluster

    def __init__(
        self, cluster: ScriptedCluster, *, port: int = 0, moves_by_itself: bool = False
    ) -> None:
        super().__init__(cluster, port=port, moves_by_itself=moves_by_itself)
        self.router = self._recording = RecordingRouter(cluster, lambda: self.url)

    @property
    def asked(self) -> list[Asked]:
        """All requests so far."""
        return self._recording.asked

    def count(self, verb: str, pool: str | None = None) -> int:
        """How many requests of that verb came (GET, LIST, PUT, DELETE, CLUSTER)."""
        return sum(each.verb == verb and pool in (None, each.pool) for each in self.asked)


def failure(shape: Shape, code: str, message: str) -> bytes:
    """The body of a failure in one of ARM's shapes."""
    cause: dict[str, Any] = {"code": code, "message": message}
    outer = {"code": "InvalidTemplateDeployment", "message": "The deployment is not valid."}
    match shape:
        case "wrapped":
            return error(400, code, message).body
        case "flat":
            return refused(400, code, message).body
        case "details":
            return ok(400, {"error": {**outer, "details": [cause]}}).body
    return ok(400, {"error": {**outer, "innererror": cause}}).body
