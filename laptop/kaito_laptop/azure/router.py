"""Which request means what: ARM's addresses, its bearer token, and the faults that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kaito_laptop.azure import gateway
from kaito_laptop.azure.answers import Answer, Request, error
from kaito_laptop.azure.cluster import ManagedCluster
from kaito_laptop.azure.faults import Fault


@dataclass(frozen=True, slots=True)
class Handled:
    """What goes back, if anything does."""

    answer: Answer | None
    """None for a dropped connection."""
    delay_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the log of the stand-in keeps it."""

    verb: str
    pool: str
    status: int
    """0 for a dropped connection."""


class Router:
    """Answers requests for one cluster, and remembers them."""

    def __init__(self, cluster: ManagedCluster, base_url: Callable[[], str]) -> None:
        self._cluster = cluster
        self._base_url = base_url
        self.asked: list[Asked] = []

    def handle(self, request: Request) -> Handled:
        """Carry a request out, or not, as the faults say."""
        self._cluster.advance()
        verb, pool, refusal = self._route(request)
        refusal = refusal or self._throttled(verb, pool)
        fault = None if refusal else self._cluster.faults.take(verb)
        handled = Handled(refusal) if refusal else self._carry_out(verb, pool, request, fault)
        status = handled.answer.status if handled.answer else 0
        self.asked.append(Asked(verb, pool, status))
        return handled

    def count(self, verb: str, pool: str | None = None) -> int:
        """How many requests of that verb came."""
        return sum(item.verb == verb and pool in (None, item.pool) for item in self.asked)

    def _carry_out(self, verb: str, pool: str, request: Request, fault: Fault | None) -> Handled:
        def apply() -> Answer:
            return self._usual(verb, pool, request)

        if fault is None:
            return Handled(apply())
        is_plain = fault.status is None and not fault.is_dropped
        usual = apply() if fault.is_applied or is_plain else None
        if fault.applied_after_seconds is not None:
            self._cluster.schedule(fault.applied_after_seconds, apply)
        if fault.is_dropped:
            return Handled(None, fault.delay_seconds)
        if fault.status is None:
            return Handled(usual, fault.delay_seconds)
        headers = {"Content-Type": "application/json", **fault.headers}
        return Handled(Answer(fault.status, fault.body, headers), fault.delay_seconds)

    def _throttled(self, verb: str, pool: str) -> Answer | None:
        """Operations and Microsoft.Compute have buckets of their own, which nobody here empties."""
        if verb in ("SKUS", "USAGES", "OPERATION"):
            return None
        return self._cluster.throttled(verb, pool)

    def _usual(self, verb: str, pool: str, request: Request) -> Answer:
        match verb:
            case "CLUSTER":
                return self._cluster.cluster()
            case "LIST":
                skip = request.query.get("$skipToken", "0")
                return self._cluster.list(int(skip) if skip.isdecimal() else 0, self._base_url())
            case "GET":
                return self._cluster.get(pool)
            case "PUT":
                return self._cluster.put(pool, request, self._base_url())
            case "SKUS":
                return self._cluster.compute.skus()
            case "USAGES":
                return self._cluster.usages()
            case "OPERATION":
                return self._cluster.operations.get(pool)
        return self._cluster.delete(pool, request, self._base_url())

    def _route(self, request: Request) -> tuple[str, str, Answer | None]:
        """Verb and pool, or why there are none."""
        stranger = gateway.unauthenticated(request)
        if stranger is not None:
            return "", "", stranger
        if request.method == "GET":
            verb, name = self._beside_the_cluster(request.path)
            if verb:
                return verb, name, None
        astray = gateway.not_found(self._cluster, request)
        if astray is not None:
            return "", "", astray
        rest = request.path.split("/")[9:]
        if not rest and request.method == "GET":
            return "CLUSTER", "", None
        if [part.lower() for part in rest[:1]] == ["agentpools"]:
            if len(rest) == 1 and request.method == "GET":
                return "LIST", "", None
            if len(rest) == 2 and request.method in ("GET", "PUT", "DELETE"):
                verb, name = request.method, rest[1]
                return verb, name, gateway.refusal(self._cluster, verb, name, request)
        return "", "", error(405, "MethodNotAllowed", "The stand-in does not know that request.")

    def _beside_the_cluster(self, path: str) -> tuple[str, str]:
        """What of the subscription may be read: the region's sizes and quota, and operations."""
        providers = f"{self._cluster.subscription}/providers".lower()
        region = f"locations/{self._cluster.compute.region}"
        if path.lower() == f"{providers}/microsoft.compute/skus":
            return "SKUS", ""
        if path.lower() == f"{providers}/microsoft.compute/{region}/usages":
            return "USAGES", ""
        operations, _, name = path.rpartition("/")
        if operations.lower() == f"{providers}/microsoft.containerservice/{region}/operations":
            return "OPERATION", name
        return "", ""
