"""AKS' own limits on requests: token buckets per region, and the 429 that says when to come again.

Limits as documented for the resource provider (reference: AKS throttling limits): creating or
updating a pool 20 and one a minute, for each pool; reading the cluster itself, and all other requests,
60 and one a second each.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

from kaito_laptop.azure.answers import Answer, refused

_HANDLERS = {
    "GET": "GetAgentPoolHandler.GET",
    "LIST": "ListAgentPoolsHandler.GET",
    "PUT": "PutAgentPoolHandler.PUT",
    "DELETE": "DeleteAgentPoolHandler.DELETE",
    "CLUSTER": "GetManagedClusterHandler.GET",
}
"""AKS' names for the verbs."""


@dataclass(slots=True)
class _Bucket:
    burst: float
    per_second: float
    left: float
    at: float


class Throttle:
    """Counts requests; those above the limits are answered with 429."""

    def __init__(self, subscription: str = "") -> None:
        self.refused_by_verb: Counter[str] = Counter()
        self._subscription = subscription
        self._buckets: dict[str, _Bucket] = {}

    @property
    def refused(self) -> int:
        """How many requests came too early."""
        return self.refused_by_verb.total()

    @property
    def refused_puts(self) -> int:
        """How many of them were PUTs."""
        return self.refused_by_verb["PUT"]

    def refusal(self, verb: str, pool: str, now: float) -> Answer | None:
        """The 429 for a request that comes too early."""
        key = {"PUT": f"PUT {pool}", "CLUSTER": "CLUSTER"}.get(verb, "other")
        burst, per_second = (20.0, 1 / 60) if verb == "PUT" else (60.0, 1.0)
        bucket = self._buckets.setdefault(key, _Bucket(burst, per_second, burst, now))
        bucket.left = min(bucket.burst, bucket.left + (now - bucket.at) * bucket.per_second)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return None
        self.refused_by_verb[verb] += 1
        seconds = max(ceil((1 - bucket.left) / bucket.per_second), 1)
        # MicrosoftDocs/SupportArticles-docs, throttled-error.md
        return refused(
            429,
            "Throttled",
            f"The {_HANDLERS[verb]} request limit has been exceeded for SubID='{self._subscription}', "
            f"please retry again in {seconds} seconds. For more information, please visit "
            "aka.ms/aks/throttling",
            Retry_After=str(seconds),
        )
