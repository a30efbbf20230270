"""What goes wrong in one run: chosen by its seed, counted by kind."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaito_laptop.azure.interference import Outcome

from tests.harness import provisioning_errors as errors
from tests.harness.arm import Fault

BAD_BODIES = (b"", b"{}", b"[]", b"null", b'{"value": []}', b'{"name": "ws', b"<html>")
STATUSES = (400, 401, 403, 404, 408, 409, 412, 500, 502, 503, 504)
CODES = (
    (409, "OperationNotAllowed", "Another operation is in progress"),
    (409, "OperationNotAllowed", "there's an in progress create node pool operation"),
    (403, "AuthorizationFailed", "no"),
    (403, "OperationNotAllowed", "exceeding approved Family Cores quota. Current Limit: 6"),
    (400, "ErrCode_InsufficientVCPUQuota", "Insufficient vcpu quota"),
    (404, "ResourceGroupNotFound", "gone"),
    (404, "ResourceNotFound", "gone"),
    (400, "InsufficientSubnetSize", "full"),
    (429, "Throttled", "slower"),
    (409, "SkuNotAvailable", errors.WORDS["SkuNotAvailable"]),
    (409, "AKSOperationPreempted", "preempted by another operation"),
    (400, "MaxAgentPoolCountReached", "too many"),
    (400, "InvalidParameter", "Error details: no"),
    (400, "AgentPoolK8sVersionNotSupported", "too old"),
)
CAUSES = ("AllocationFailed", "ZonalAllocationFailed", "OperationNotAllowed", "SkuNotAvailable")
YEARS: tuple[errors.Year, ...] = (2022, 2024, 2026)
EXITS: tuple[errors.ExitStatus, ...] = (50, 51, 84, 124)
BLOCKS = ("lock", "read-only lock", "disabled", "policy")


@dataclass(slots=True)
class FaultSchedule:
    """The faults of one run; `share` of all requests meet one until `ends`."""

    chance: random.Random
    share: float
    ends: float
    is_late: bool
    """Whether PUTs may be carried out after their connection was dropped; reads lag in other runs."""
    seen: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, chance: random.Random) -> FaultSchedule:
        """What the seed brings."""
        share = chance.choice([0.0, 0.1, 0.2, 0.5])
        return cls(chance, share, chance.uniform(400, 2000), chance.random() < 0.5)

    def fault(self, verb: str, now: float) -> Fault | None:
        """What becomes of this request."""
        if now >= self.ends:
            return None
        if verb == "PUT" and self.is_late and self.share and self.chance.random() < 0.3:
            self.seen["PUT late"] += 1
            return self._fault("late")
        if self.chance.random() >= self.share:
            return None
        kind = self.chance.choice(
            ["status", "body", "code", "dropped", "applied and dropped", "applied and failed"]
        )
        if verb in ("GET", "LIST", "CLUSTER") and kind.startswith("applied"):
            kind = "dropped"
        self.seen[f"{verb} {kind}"] += 1
        return self._fault(kind)

    def _fault(self, kind: str) -> Fault:
        chance = self.chance
        match kind:
            case "status":
                headers = (
                    {"Retry-After": str(chance.choice([0, 1, 60]))} if chance.random() < 0.3 else {}
                )
                return Fault(chance.choice(STATUSES), chance.choice(BAD_BODIES), headers)
            case "body":
                return Fault(200, chance.choice(BAD_BODIES))
            case "code":
                status, code, message = chance.choice(CODES)
                body = {"error": {"code": code, "message": message}}
                return Fault(status, json.dumps(body).encode())
            case "applied and failed":
                return Fault(chance.choice([500, 502, 504]), b"", is_applied=True)
            case "late":
                return Fault(is_dropped=True, applied_after_seconds=chance.uniform(5, 40))
        return Fault(is_dropped=True, is_applied=kind == "applied and dropped")

    def outcome(self, now: float) -> Outcome:
        """What becomes of the pool that is made now."""
        roll = self.chance.random() if now < self.ends and self.share else 1.0
        if roll < 0.15:
            self.seen["pool fails"] += 1
            state = self.chance.choice(["Failed", "Failed", "Canceled"])
            return Outcome(state, self._cause())
        if roll < 0.2:
            self.seen["node never joins"] += 1
            return Outcome(has_node=False)
        return Outcome(seconds=self.chance.uniform(60, 500))

    def _cause(self) -> Mapping[str, Any] | None:
        """As AKS has written it over the years, or nothing at all."""
        chance = self.chance
        code, year = chance.choice(CAUSES), chance.choice(YEARS)
        return chance.choice(
            [
                None,
                {"error": {"code": "InternalError", "message": "m"}},
                errors.provisioning_error(year, code),
                errors.with_sub_code(code),
                errors.with_json(code),
                errors.node_setup_failed(year, chance.choice(EXITS)),
            ]
        )

    def happens(self, kind: str, probability: float, now: float) -> bool:
        """Whether something else goes wrong now."""
        if now >= self.ends or self.chance.random() >= probability:
            return False
        self.seen[kind] += 1
        return True
