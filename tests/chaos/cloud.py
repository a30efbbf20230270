"""Azure in one run: the stand-in, its faults, and a witness of what no hook may ever ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kaito_hooks.providers.aks.pools import owners
from kaito_laptop.azure.answers import Answer, Request, error, ok
from kaito_laptop.azure.interference import Handled
from kaito_laptop.azure.router import Router
from kaito_laptop.core.clock import VirtualClock

from tests.chaos.fault_schedule import FaultSchedule
from tests.harness.arm import ScriptedCluster

FOREIGN = "foreign"
LAG_SECONDS = 30
GPUS = {"Standard_NC6s_v3": 1}


class NodeList:
    """The Nodes of the cluster."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}

    def add(self, manifest: Any) -> None:
        self.by_name[manifest["metadata"]["name"]] = manifest

    def remove(self, name: str) -> None:
        self.by_name.pop(name, None)


class Cloud:
    """Carries requests out as the schedule of faults allows, and remembers each broken promise."""

    def __init__(self, clock: VirtualClock, schedule: FaultSchedule) -> None:
        self.clock, self.schedule = clock, schedule
        self.nodes = NodeList()
        chance = schedule.chance
        hides_etags = chance.random() < 0.1
        self.has_swapped = hides_etags
        """Whether someone has put a pool of theirs in the place of ours; without etags nobody can tell."""
        self.arm = ScriptedCluster(
            clock,
            self.nodes,
            GPUS,
            is_deletable_while_creating=chance.random() < 0.5,
            one_operation_at_a_time=chance.random() < 0.2,
            page_size=chance.choice([1, 2, 100]),
            hosted_system=chance.random() < 0.2,
            hides_etags=hides_etags,
            preempts=chance.random() < 0.5,
            not_found_code=chance.choice(["NotFound", "AgentPoolNotFound"]),
        )
        self.arm.faults.outcome = lambda: schedule.outcome(clock.seconds())  # type: ignore[method-assign]
        self.arm.add_pool(FOREIGN, tags={"team": "other"})
        self._router = Router(self.arm, lambda: "http://127.0.0.1:1")
        self.wrong: list[tuple[str, str]] = []
        """Kind and details of each broken promise."""
        self.requests = 0
        self.calls_by_uid: dict[str, int] = {}
        self.created: dict[str, float] = {}
        """When each pool appeared: readers lag behind that."""
        self.may_create: Callable[[str, str], bool] = lambda name, uid: True
        self.meanwhile: Callable[[str], None] = lambda verb: None
        """What happens while a request is on its way."""
        self.astray_until = 0.0
        """Until then another cluster answers: an empty one."""

    def handle(self, request: Request) -> Handled | None:
        """One request of the hook."""
        now = self.clock.seconds()
        verb, pool = _verb(request)
        self.requests += "$skipToken" not in request.query  # The pages of a list are one call.
        if self.schedule.happens("connection refused", self.schedule.share / 10, now):
            return None
        self.meanwhile(verb)
        self._swap(verb, pool, request)
        lagging = self._lagging(verb, pool, now)
        if lagging is not None:
            return Handled(lagging)
        before, preempted = self._uids(pool), len(self.arm.preempted)
        throttled = self.arm.throttle.refused_puts
        fault = self.schedule.fault(verb, now)
        if fault is not None:
            self.arm.faults.add(verb, fault)  # type: ignore[arg-type]
        handled = self._router.handle(request)
        if fault is None or fault.is_applied or fault.applied_after_seconds is not None:
            self._witness(verb, pool, request, before)
        for _, name, state in self.arm.preempted[preempted:]:
            self.wrong.append(("delete during an operation of AKS", f"{name} {state}"))
        if self.arm.throttle.refused_puts > throttled:
            self.wrong.append(("PUT above AKS' budget", pool))
        self._note_births()
        return handled

    def block(self, kind: str) -> None:
        """What the owner of the subscription does to us."""
        self.arm.guards.lock = {"lock": "CanNotDelete", "read-only lock": "ReadOnly"}.get(kind, "")
        self.arm.guards.is_subscription_disabled = kind == "disabled"
        self.arm.guards.policy = (lambda properties: "no-gpus") if kind == "policy" else None

    def is_at_rest(self, pool: str) -> bool:
        """Whether nothing is under way with a pool."""
        answer = self.arm.get(pool)
        found = json.loads(answer.body) if answer.status == 200 else {}
        return bool(found.get("properties", {}).get("provisioningState") == "Succeeded")

    def pass_time(self, seconds: float) -> None:
        """Let Azure go on."""
        end = self.clock.seconds() + seconds
        while (due := self.arm.next_change()) is not None and due <= end:
            self.clock.advance_to(due)
            self.arm.advance()
            self._note_births()
        self.clock.advance_to(end)
        self.arm.advance()

    def ours(self, uids: set[str]) -> list[str]:
        """Pools that belong to one of these Machines."""
        return [name for name in self.arm.pool_names() if self._uids(name) & uids]

    def _uids(self, pool: str) -> set[str]:
        answer = self.arm.get(pool)
        return set(owners(json.loads(answer.body))) if answer.status == 200 else set()

    def _witness(self, verb: str, pool: str, request: Request, before: set[str]) -> None:
        """Judge a request that was carried out, or will be."""
        if verb == "PUT":
            uid = json.loads(request.body)["properties"]["tags"]["kaito.sh_machine-uid"]
            if request.headers.get("if-none-match") != "*":
                self.wrong.append(("unguarded create", pool))
            if not self.may_create(pool, uid):
                self.wrong.append(("create for a Machine without finalizer", pool))
            others = [name for name in self.ours({uid}) if name != pool]
            if others:
                self.wrong.append(("double create", f"{pool} beside {others}"))
        if verb == "DELETE" and self.arm.get(pool).status == 200:
            state = json.loads(self.arm.get(pool).body)["properties"]["provisioningState"]
            if state == "Deleting" and not before & set(self.calls_by_uid):
                self.wrong.append(("foreign delete", pool))

    def _swap(self, verb: str, pool: str, request: Request) -> None:
        """Between reading and deleting, someone replaces our pool by one of theirs."""
        now = self.clock.seconds()
        if verb != "DELETE" or self.has_swapped or self.schedule.share > 0.1:
            return
        if self._uids(pool) and self.schedule.happens("pool replaced", 0.05, now):
            self.has_swapped = True
            self.arm.set_pool(
                pool, tags={"team": "other"}, nodeLabels={}, provisioningState="Succeeded"
            )
            self.calls_by_uid.pop(pool, None)

    def _lagging(self, verb: str, pool: str, now: float) -> Answer | None:
        """A replica that has not heard of the pool yet, or a proxy that leads to another cluster."""
        if now < self.astray_until and verb in ("GET", *ASTRAY):
            self.schedule.seen[f"{verb} astray"] += 1
            return ASTRAY.get(verb) or _not_found(pool)
        if verb == "GET" and self.schedule.happens("astray", self.schedule.share / 50, now):
            self.astray_until = now + self.schedule.chance.uniform(60, 300)
            return _not_found(pool)
        is_young = now - self.created.get(pool, -1e9) < LAG_SECONDS
        may_lag = verb == "GET" and is_young and not self.schedule.is_late
        if may_lag and self.schedule.happens("GET lags", self.schedule.share, now):
            return _not_found(pool)
        return None

    def _note_births(self) -> None:
        names = self.arm.pool_names()
        for name in names:
            self.created.setdefault(name, self.clock.seconds())
        for name in set(self.created) - set(names):
            del self.created[name]


ASTRAY = {
    "LIST": ok(200, {"value": []}),
    "CLUSTER": ok(
        200,
        {
            "id": "/subscriptions/1/resourceGroups/other/providers/Microsoft.ContainerService/managedClusters/other",
            "properties": {
                "provisioningState": "Succeeded",
                "powerState": {"code": "Running"},
                "hostedSystemProfile": {"enabled": True},
            },
        },
    ),
}
"""What another cluster answers: an empty one of AKS Automatic."""


def _verb(request: Request) -> tuple[str, str]:
    head, _, last = request.path.rpartition("/")
    if head.endswith("agentPools"):
        return request.method, last
    if last == "agentPools":
        return "LIST", ""
    return {"skus": "SKUS", "usages": "USAGES"}.get(last, "CLUSTER"), ""


def _not_found(pool: str) -> Answer:
    return error(404, "NotFound", f"Agent Pool {pool} not found.")
