"""AKS' own limits on requests: token buckets per region, and the 429 that says when to come again.

Limits as documented for the resource provider (reference: AKS throttling limits): creating or
updating a pool 20 and one a minute, for each pool; all other requests 60 and one a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from kaito_laptop.arm.answers import Answer, error


@dataclass(slots=True)
class _Bucket:
    burst: float
    per_second: float
    left: float
    at: float


class Throttle:
    """Counts requests; those above the limits are answered with 429."""

    def __init__(self) -> None:
        self.refused = 0
        self._buckets: dict[str, _Bucket] = {}

    def refusal(self, verb: str, pool: str, now: float) -> Answer | None:
        """The 429 for a request that comes too early."""
        key = f"PUT {pool}" if verb == "PUT" else "other"
        burst, per_second = (20.0, 1 / 60) if verb == "PUT" else (60.0, 1.0)
        bucket = self._buckets.setdefault(key, _Bucket(burst, per_second, burst, now))
        bucket.left = min(bucket.burst, bucket.left + (now - bucket.at) * bucket.per_second)
        bucket.at = now
        if bucket.left >= 1:
            bucket.left -= 1
            return None
        self.refused += 1
        seconds = max(ceil((1 - bucket.left) / bucket.per_second), 1)
        return error(
            429,
            "Throttled",
            "The request is throttled. Please try again.",
            Retry_After=str(seconds),
        )
