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
        cluster = self._cluster
        skip = request.query.get("$skipToken", "0")
        answers: dict[str, Callable[[], Answer]] = {
            "CLUSTER": cluster.cluster,
            "LIST": lambda: cluster.list(int(skip) if skip.isdecimal() else 0, self._base_url()),
            "GET": lambda: cluster.get(pool),
            "PUT": lambda: cluster.put(pool, request, self._base_url()),
            "DELETE": lambda: cluster.delete(pool, request, self._base_url()),
            "SKUS": cluster.compute.skus,
            "USAGES": cluster.usages,
            "OPERATION": lambda: cluster.operations.get(pool),
        }
        return answers[verb]()

    def route(self, request: Request) -> tuple[str, str, Answer | None]:
        """Verb and pool, or why there are none."""
        stranger = gateway.unauthenticated(request)
        if stranger is not None:
            return "", "", stranger
        verb, name = self._beside_the_cluster(request)
        if verb:
            return verb, name, None
        astray = gateway.not_found(self._cluster.id, request)
        if astray is not None:
            return "", "", astray
        verb, name = _in_the_cluster(request)
        if not verb:
            said = "The stand-in does not know that request."
            return "", "", error(405, "MethodNotAllowed", said)
        return verb, name, self._cluster.interference.refusal(verb, name, request)

    def _beside_the_cluster(self, request: Request) -> tuple[str, str]:
        """What of the subscription may be read: the region's sizes and quota, and operations."""
        if request.method != "GET":
            return "", ""
        path = request.path
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


def _in_the_cluster(request: Request) -> tuple[str, str]:
    """Verb and pool of a path below the cluster, or two empty words."""
    match request.method, request.path.split("/")[9:]:
        case "GET", []:
            return "CLUSTER", ""
        case "GET", [kind] if kind.lower() == "agentpools":
            return "LIST", ""
        case ("GET" | "PUT" | "DELETE") as verb, [kind, name] if kind.lower() == "agentpools":
            return verb, name
    return "", ""
