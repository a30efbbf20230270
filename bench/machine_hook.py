"""What a decision costs without I/O, and what a worker of the Machine hook weighs: the end of `make bench-hook`.

In the processor's time, so that what else runs on the computer does not count. Alone: python -m bench.machine_hook.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kaito_hooks.machine import finalize, sync
from kaito_hooks.machine.actions import Answer, Created, CreatePool, Deleted, DeletePool, observe
from kaito_hooks.machine.provider import Absent, Availability, ListedPool, Listing, Ours
from kaito_hooks.metacontroller import SyncResponse, dump, parse_sync

from tests.unit.machine.builders import body, machine, node

DECISION_MS, WORKER_MIB = 1, 120
"""The goals."""
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LISTING = Listing((ListedPool("system", Ours("Succeeded"), is_system=True),))
WORKER = """
from kaito_hooks.providers.aks.settings import AksSettings, WorkloadIdentity
from kaito_hooks.web.machine import create_machine_app, _utc_now
from kaito_hooks.providers.aks.provider import AksProvider
identity = WorkloadIdentity("t", "c", "/none", "https://login.microsoftonline.com/")
settings = AksSettings("s", "rg", "aks", "i", identity=identity)
provider = AksProvider(settings, _utc_now)
provider.unavailable_reason()
app = create_machine_app(provider).test_client()
for _ in range(200):
    app.post("/machine/customize", json={"parent": {"metadata": {"uid": "u"}}})
print(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
"""


def decision_seconds(count: int = 5000) -> list[float]:
    """Processor seconds of each call, from the body to the bytes of the answer, over a Machine's whole life."""
    pools: list[tuple[Any, tuple[Any, ...], bool]] = [
        (Absent(), (), False),
        (Ours("Creating", "e"), (), False),
        (Ours("Succeeded", "e"), (node(),), False),
        (Ours("Failed", "e"), (), False),
        (Ours("Succeeded", "e"), (node(),), True),
        (Absent(), (), True),
    ]
    requests = [(pool, body(machine(), nodes, leaving), leaving) for pool, nodes, leaving in pools]
    found = []
    for index in range(count):
        pool, request, leaving = requests[index % len(requests)]
        began = time.thread_time()
        _decide(pool, request, leaving)
        found.append(time.thread_time() - began)
    return sorted(found)


def p99_milliseconds(count: int = 5000) -> float:
    """Of a decision without I/O."""
    found = decision_seconds(count)
    return found[int(len(found) * 0.99)] * 1000


def worker_mib() -> float:
    """Resident memory of a worker with Azure's client and its workload identity, after 200 calls."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1]) / 1024


def _decide(pool: Any, request: Any, leaving: bool) -> bytes:
    decide = finalize.decide if leaving else sync.decide
    observed = observe(parse_sync(request))
    while True:
        step = decide(observed, NOW)
        if isinstance(step, Answer):
            response = SyncResponse(
                step.status, (), step.resync_seconds, finalized=step.finalized if leaving else None
            )
            return dump(response.to_json())
        observed = replace(
            observed,
            pool=pool,
            is_fresh=True,
            listing=LISTING,
            availability=Availability(),
            operation="",
        )
        if isinstance(step, CreatePool | DeletePool):
            outcome = Created("Creating") if isinstance(step, CreatePool) else Deleted()
            observed = replace(observed, outcome=outcome)


def report() -> bool:
    """Print the figures; return whether both reach their goals."""
    found = decision_seconds()
    p50, p99 = (found[int(len(found) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"machine decision: p50 {p50:.2f} ms, p99 {p99:.2f} ms (goal <= {DECISION_MS})", flush=True
    )
    memory = worker_mib()
    print(f"machine worker memory: {memory:.0f} MiB (goal <= {WORKER_MIB})", flush=True)
    return p99 <= DECISION_MS and memory <= WORKER_MIB


if __name__ == "__main__":
    sys.exit(not report())
