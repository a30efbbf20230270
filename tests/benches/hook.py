"""`make bench-hook`: the Workspace hook behind gunicorn against an empty Flask app of the same sizes, in one run.

Then the Machine hook, whose calls wait for Azure: what a decision costs without that, and what a worker weighs.

Open loop: requests leave on the clock whatever the answers do, so a slow answer can't slow the asking down.
Closed loop: eight connections ask as fast as they are answered; both apps in turn, round by round.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaito_laptop.hook_processes import HookProcess
from machine import bench as machine_bench

from support.builders import (
    as_observed,
    complete_job,
    node,
    pod_of,
    ready_machine,
    request,
    tuning_workspace,
)

SETTINGS = {
    "KAITO_TRANSFER_IMAGE": "ghcr.io/kaito-python/transfer:0.1.0",
    "KAITO_TUNING_IMAGE": "ghcr.io/kaito-python/tuning:0.1.0",
    "KAITO_INFERENCE_IMAGE": "ghcr.io/kaito-python/inference:0.1.0",
}
REQUEST_BYTES = 20_000
OPEN_RATE, OPEN_SECONDS = 100, 10
CLOSED_CONNECTIONS, CLOSED_SECONDS, ROUNDS = 8, 3, 3


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, address: str, path: str) -> Target:
        host, _, port = address.partition(":")
        return cls(host, int(port), path)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, body: bytes
) -> bytes:
    """One request on a connection that stays open."""
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    header = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in header.split(b"\r\n")[0], header
    length = int(header.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def open_loop(target: Target, body: bytes) -> list[float]:
    """Seconds from the moment a request was due to its answer."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    begin = time.perf_counter() + 0.1

    async def one(due: float) -> float:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = idle.pop() if idle else await asyncio.open_connection(target.host, target.port)
        await ask(*connection, target, body)
        idle.append(connection)
        return time.perf_counter() - due

    return await asyncio.gather(
        *(one(begin + n / OPEN_RATE) for n in range(OPEN_RATE * OPEN_SECONDS))
    )


async def closed_loop(target: Target, body: bytes) -> float:
    """Answers a second."""
    end = time.perf_counter() + CLOSED_SECONDS

    async def client() -> int:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        count = 0
        while time.perf_counter() < end:
            await ask(reader, writer, target, body)
            count += 1
        writer.close()
        return count

    return (
        sum(await asyncio.gather(*(client() for _ in range(CLOSED_CONNECTIONS)))) / CLOSED_SECONDS
    )


def full_request(hook: Target) -> bytes:
    """A tuning Workspace with all its children, as Metacontroller sends it, filled up to 20 KB of managedFields."""
    parent = tuning_workspace()
    children: list[dict[str, Any]] = []
    related = [node("aks-node-0", {"kaito.sh/machine-uid": "m"})]
    for _ in range(4):
        answer = asyncio.run(single(hook, json.dumps(request(parent, children, related)).encode()))
        parent["status"] = answer["status"]
        children, related = observe(parent, answer["children"], related)
    body = request(parent, children, related)
    parent["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {}}]
    fill = REQUEST_BYTES - len(json.dumps(body))
    parent["metadata"]["managedFields"][0]["fieldsV1"] = {"f:spec": "x" * max(0, fill)}
    return json.dumps(body).encode()


async def single(target: Target, body: bytes) -> Any:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    answer = json.loads(await ask(reader, writer, target, body))
    writer.close()
    return answer


def observe(
    parent: dict[str, Any], children: list[dict[str, Any]], related: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    seen, pods = [], [item for item in related if item["kind"] == "Node"]
    for child in children:
        if child["kind"] == "Machine":
            seen.append(ready_machine(parent, child["metadata"]["name"]))
        elif child["kind"] == "Job":
            seen.append(complete_job(child))
            digest = {"image": parent["tuning"]["output"]["image"], "digest": "sha256:" + "9" * 64}
            pods.append(
                pod_of(
                    child,
                    ("train", 0, {"steps": 1}),
                    ("docker-sidecar", 0, digest),
                    ("check", 0, {"rows": 1}),
                )
            )
        else:
            seen.append(as_observed(child))
    return seen, pods


def memory_mib(pids: list[int]) -> float:
    """Resident memory of the largest process."""
    return max(
        int(line.split()[1]) / 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmRSS")
    )


def children_of(parent: int) -> list[int]:
    return [
        int(pid)
        for pid in Path(f"/proc/{parent}/task/{parent}/children")
        .read_text(encoding="utf-8")
        .split()
    ]


def main() -> int:
    """Print the figures; exit code 1 when one misses its goal."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        hook = HookProcess(
            "kaito_hooks.web.workspace:create_workspace_app()", SETTINGS, logs / "hook.log"
        )
        peer = None
        try:
            hook.wait()
            target = Target.of(hook.address, "/workspace/sync")
            body = full_request(target)
            answer = asyncio.run(single(target, body))
            (logs / "answer").write_text(json.dumps(answer), encoding="utf-8")
            environment = {"ANSWER": str(logs / "answer")}
            peer = HookProcess("benches.empty_app:create_app()", environment, logs / "peer.log")
            peer.wait()
            empty = Target.of(peer.address, "/sync")
            print(
                f"request {len(body):,} bytes, answer {len(json.dumps(answer)):,} bytes, {os.cpu_count()} cores",
                flush=True,
            )
            asyncio.run(closed_loop(target, body))
            latencies = sorted(asyncio.run(open_loop(target, body)))
            p50, p99 = (
                latencies[len(latencies) // 2] * 1000,
                latencies[int(len(latencies) * 0.99)] * 1000,
            )
            print(
                f"open loop at {OPEN_RATE}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal <= 15)",
                flush=True,
            )
            ours, theirs = [], []
            for number in range(ROUNDS):
                ours.append(asyncio.run(closed_loop(target, body)))
                theirs.append(asyncio.run(closed_loop(empty, body)))
                print(
                    f"  round {number + 1}: hook {ours[-1]:,.0f}/s, empty app {theirs[-1]:,.0f}/s",
                    flush=True,
                )
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            print(f"closed loop: {ratio:.0%} of the empty app (goal >= 70 %)")
            memory = memory_mib(children_of(hook.pid))
            print(f"worker memory: {memory:.0f} MiB (goal <= 80)")
        finally:
            hook.stop()
            if peer:
                peer.stop()
    is_light = machine_bench.report()
    return 0 if p99 <= 15 and ratio >= 0.7 and memory <= 80 and is_light else 1


if __name__ == "__main__":
    sys.exit(main())
