"""Two hundred Machines at once: AKS allows 60 requests and one a second, and never has to say so."""

from __future__ import annotations

import heapq
from typing import Any

from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.provisioner.run import MachineHook
from kaito_laptop.azure.compute import Compute
from kaito_laptop.core.clock import VirtualClock

from tests.chaos.cloud import NodeList
from tests.chaos.driver import SETTINGS
from tests.chaos.transport import InProcess
from tests.harness.arm import RecordingRouter, ScriptedCluster
from tests.unit.aks.machine_simulation import NoObserver
from tests.unit.machine.builders import body, machine, reason

MACHINES = 200


def test_two_hundred_machines_become_ready_and_go_without_a_single_429() -> None:
    clock, nodes = VirtualClock(), NodeList()
    plenty = Compute(limits={"standardNCSv3Family": 10**6, "cores": 10**6})
    arm = ScriptedCluster(
        clock, nodes, {"Standard_NC6s_v3": 1}, compute=plenty, most_pools=MACHINES + 1
    )
    router = RecordingRouter(arm, lambda: "http://127.0.0.1:1")
    provider = AksProvider(SETTINGS, clock.now, InProcess(router.handle))
    calls = MachineHook(provider, clock.now, NoObserver())
    parents = [machine(metadata={"name": f"ws{n:04}", "uid": f"u{n}"}) for n in range(MACHINES)]
    most = 0

    def live(until: Any) -> float:
        nonlocal most
        began = clock.seconds()
        queue = [(clock.seconds(), n) for n in range(MACHINES)]
        while queue:
            due, n = heapq.heappop(queue)
            clock.advance_to(due)
            arm.advance()
            parent = parents[n]
            finalizing = "deletionTimestamp" in parent["metadata"]
            mine = [node for node in nodes.by_name.values() if f"-{parent['metadata']['name']}-" in
                    node["metadata"]["name"]]  # fmt: skip
            before = len(router.asked)
            answer = dict(
                (calls.finalize if finalizing else calls.sync)(body(parent, mine, finalizing))
            )
            most = max(most, len(router.asked) - before)
            changed = answer["status"] != parent.get("status")
            parents[n] = {**parent, "status": answer["status"]}
            if not until(answer):
                wait = 0.1 if changed else answer["resyncAfterSeconds"]
                heapq.heappush(queue, (clock.seconds() + wait, n))
        return clock.seconds() - began

    to_ready = live(lambda answer: reason(answer["status"]) == "True/NodeReady")
    assert arm.throttle.refused == 0
    assert [item.status for item in router.asked if item.verb == "PUT"] == [201] * MACHINES
    assert to_ready < 240 + MACHINES / 0.9 * 2.5
    for parent in parents:
        parent["metadata"]["deletionTimestamp"] = "2026-01-01T00:20:00Z"
    live(lambda answer: answer.get("finalized"))
    assert arm.throttle.refused == 0
    assert arm.pool_names() == []
    assert most <= 3
    reads = sum(item.verb != "PUT" for item in router.asked)
    assert reads <= 60 + clock.seconds()
