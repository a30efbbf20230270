"""A Machine simulated: the hook's own app, the real Azure client, the stand-in, and virtual time.

The loop is the part of Metacontroller that matters here: status written as answered, a sync at once
after each change, the resync that was asked for, and the finalizer.
"""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.core.clock import VirtualClock, timestamp

from tests.harness.arm import ScriptedArmServer, ScriptedCluster
from tests.unit.machine.builders import body, machine

SETTINGS: dict[str, Any] = {
    "subscription_id": "00000000-0000-0000-0000-000000000000",
    "resource_group": "laptop",
    "cluster_name": "laptop",
    "install_id": "test",
}
GPUS = {"Standard_NC6s_v3": 1}
MOST_REQUESTS = 3
"""In one call of the hook."""


class NodeList:
    """The Nodes of the cluster."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self.joined = threading.Event()

    def add(self, manifest: Any) -> None:
        self.by_name[manifest["metadata"]["name"]] = manifest
        self.joined.set()

    def remove(self, name: Any) -> None:
        self.by_name.pop(name, None)


class NoObserver:
    """Hears everything and remembers nothing."""

    def acted(self, action: str, outcome: str) -> None:
        pass

    def failed(self, action: str, machine: Any, error: ProviderError) -> None:
        pass

    def finalizing(self, machine: Any, seconds: float | None) -> None:
        pass


class MachineSimulation:
    """One Machine in one cluster."""

    def __init__(self, arm: Any, clock: Any, nodes: Any, **settings: Any) -> None:
        self.arm, self.clock, self.nodes = arm, clock, nodes
        self.settings = AksSettings(**{**SETTINGS, "arm_endpoint": arm.url, **settings})
        self.log = io.StringIO()
        self.restart()
        self.parent = machine()
        self.is_gone = False
        self.answers: list[Any] = []

    def restart(self, **settings: Any) -> None:
        """A new process of the hook, with settings that someone has changed."""
        self.settings = replace(self.settings, **settings)
        self.provider = AksProvider(self.settings, self.clock.now)
        app = create_machine_app(self.provider, self.clock.now, log_stream=self.log)
        self.client = app.test_client()

    @property
    def faults(self) -> Any:
        return self.arm.cluster.faults

    @property
    def status(self) -> Any:
        return self.parent.get("status", {})

    @property
    def pools(self) -> Any:
        return self.arm.cluster.pool_names()

    def delete(self) -> None:
        """`kubectl delete machine`."""
        self.parent["metadata"]["deletionTimestamp"] = timestamp(self.clock.now())
        self.parent["metadata"]["generation"] += 1

    def call(self) -> Any:
        """One call of the hook, and what Metacontroller does with the answer."""
        finalizing = "deletionTimestamp" in self.parent["metadata"]
        route = "/machine/finalize" if finalizing else "/machine/sync"
        request = body(self.parent, self.nodes.by_name.values(), finalizing)
        before = len(self.arm.asked)
        response = self.client.post(route, json=request)
        assert response.status_code == 200, response.text
        if (
            len(self.pools) < self.arm.cluster.behaviour.page_size
        ):  # The pages of a list are one request.
            assert len(self.arm.asked) - before <= MOST_REQUESTS, self.arm.asked[before:]
        answer = response.get_json()
        assert answer["children"] == []
        self.answers.append(answer)
        self.is_gone = answer.get("finalized", False)
        self.parent = {**self.parent, "status": answer["status"]}
        return answer

    def settle(self, most: Any = 6) -> Any:
        """Call until the status stops changing, as a status write causes a sync at once."""
        for _ in range(most):
            before = self.parent.get("status")
            answer = self.call()
            if self.is_gone or answer["status"] == before:
                return answer
        raise AssertionError(f"a hot loop: {before} {answer['status']}")

    def step(self) -> Any:
        """Settle, then let the time pass that the answer asked for."""
        answer = self.settle()
        if not self.is_gone:
            seconds = answer.get("resyncAfterSeconds", 300)
            self.pass_time(seconds)
        return answer

    def pass_time(self, seconds: Any) -> None:
        self.clock.advance_to(self.clock.seconds() + seconds)
        self.arm.cluster.advance()

    def until(self, is_reached: Any, seconds: Any = 7200) -> Any:
        """Step until it is so; fail after that many seconds of virtual time."""
        end = self.clock.seconds() + seconds
        while True:
            self.settle()
            if is_reached(self):
                return self
            assert self.clock.seconds() < end, self.status
            if self.is_gone:
                raise AssertionError("the Machine is gone")
            self.pass_time(self.answers[-1].get("resyncAfterSeconds", 300))

    def until_ready(self, seconds: Any = 7200) -> Any:
        return self.until(lambda simulation: reason_of(simulation) == "True/NodeReady", seconds)

    def until_gone(self, seconds: Any = 7200) -> Any:
        return self.until(lambda simulation: simulation.is_gone, seconds)


def reason_of(simulation: Any, type_: Any = "Ready") -> str:
    """Status and reason of a condition."""
    found = [item for item in simulation.status.get("conditions", ()) if item["type"] == type_]
    return f"{found[0]['status']}/{found[0]['reason']}" if found else ""


@contextmanager
def simulated_machine(settings: Any = None, **cluster: Any) -> Any:
    """A fresh cluster and a Machine that has not been synced yet."""
    clock, nodes = VirtualClock(), NodeList()
    with ScriptedArmServer(ScriptedCluster(clock, nodes, GPUS, **cluster)) as arm:
        yield MachineSimulation(arm, clock, nodes, **(settings or {}))
