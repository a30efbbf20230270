"""A Machine on NodeClaims: the hook's own app, the real client, and virtual time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.core.clock import VirtualClock, timestamp

from tests.contract.providers.clouds import claims_in_memory
from tests.contract.providers.kube_api import KubeApi
from tests.unit.machine.builders import UID, body, machine


class ClaimSimulation:
    """A Machine, the hook, and what Metacontroller does with its answers."""

    def __init__(self, cloud: Any, api: KubeApi, clock: VirtualClock) -> None:
        self.karpenter, self.cluster, self.api, self.clock = (
            cloud.karpenter,
            cloud.cluster,
            api,
            clock,
        )
        self.app = create_machine_app(
            cloud.provider, clock.now, log_stream=io.StringIO()
        ).test_client()
        self.parent = machine()
        self.is_gone = False

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.parent["status"]
        return found

    def claims(self) -> list[dict[str, Any]]:
        return list(self.cluster.list(self.cluster.resource("karpenter.sh/v1", "NodeClaim")))

    def sync(self) -> dict[str, Any]:
        """One call, and the calls that its status writes cause."""
        finalizing = "deletionTimestamp" in self.parent["metadata"]
        route = "/machine/finalize" if finalizing else "/machine/sync"
        for _ in range(6):
            nodes = self.cluster.list(
                self.cluster.resource("v1", "Node"), labels={"kaito.sh/machine-uid": UID}
            )
            response = self.app.post(route, json=body(self.parent, nodes, finalizing))
            assert response.status_code == 200, response.text
            answer: dict[str, Any] = response.json or {}
            before, self.parent["status"] = self.parent.get("status"), answer["status"]
            self.is_gone = answer.get("finalized", False)
            if self.is_gone or answer["status"] == before:
                return answer
        raise AssertionError(f"a hot loop: {before} {answer['status']}")

    def later(self, seconds: float) -> dict[str, Any]:
        self.clock.advance_to(self.clock.seconds() + seconds)
        return self.sync()

    def delete(self) -> None:
        self.parent["metadata"]["deletionTimestamp"] = timestamp(self.clock.now())

    def count(self, method: str) -> int:
        return [verb for verb, _ in self.api.asked].count(method)


@contextmanager
def simulated_claim() -> Iterator[ClaimSimulation]:
    with claims_in_memory() as (cloud, api, clock):
        yield ClaimSimulation(cloud, api, clock)
