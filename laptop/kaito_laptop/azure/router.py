"""Which request means what: ARM's addresses, its bearer token."""

from __future__ import annotations

from collections.abc import Callable

from kaito_laptop.azure import gateway
from kaito_laptop.azure.answers import Answer, Request, error
from kaito_laptop.azure.cluster import ManagedCluster
from kaito_laptop.azure.interference import Handled


class Router:
    """Answers requests for one cluster."""

    def __init__(self, cluster: ManagedCluster, base_url: Callable[[], str]) -> None:
        self._cluster = cluster
        self._base_url = base_url

    def handle(self, request: Request) -> Handled:
        """Carry a request out, unless something is in its way."""
        self._cluster.advance()
        verb, pool, refusal = self.route(request)
        refusal = refusal or self._throttled(verb, pool)
        if refusal is not None:
            return Handled(refusal)
        return self._cluster.interference.carried_out(
            verb, lambda: self._usual(verb, pool, request)
        )

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

    def route(self, request: Request) -> tuple[str, str, Answer | None]:
        """Verb and pool, or why there are none."""
        stranger = gateway.unauthenticated(request)
        if stranger is not None:
            return "", "", stranger
        if request.method == "GET":
            verb, name = self._beside_the_cluster(request.path)
            if verb:
                return verb, name, None
        astray = gateway.not_found(self._cluster.id, request)
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
                return verb, name, self._cluster.interference.refusal(verb, name, request)
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
