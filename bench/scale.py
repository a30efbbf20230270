"""N Workspaces on a real control plane of their own, and what they cost."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaito_laptop.cli.hook_processes import HookProcess

from bench import loops
from bench.processes import children_of, cpu_seconds, memory_mib
from tests.e2e import binaries
from tests.e2e.control_plane import ControlPlane
from tests.e2e.install import ROOT, kubectl, wait_for_kinds
from tests.harness.api_connection import Connection
from tests.harness.builders import merged, tuning_workspace

NAMESPACE = "bench"
CONTROLLERS = "/apis/metacontroller.k8s.io/v1alpha1/compositecontrollers"
WORKSPACES = f"/apis/kaito.sh/v1alpha1/namespaces/{NAMESPACE}/workspaces"
CHILDREN = {
    "services": f"/api/v1/namespaces/{NAMESPACE}/services",
    "secrets": f"/api/v1/namespaces/{NAMESPACE}/secrets",
    "jobs": f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
}
OURS = {*CHILDREN, "workspaces", "machines", "deployments"}
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
CLIENTS = 16
QUIET_SECONDS = 3.0
SAY_SECONDS = 30.0
PATIENCE_SECONDS, PATIENCE_EACH = 1800.0, 0.6
"""How long a part of the bench may take, and what each Workspace adds to it."""


@dataclass(frozen=True)
class Figures:
    seconds: float
    """Until the children of the first answer exist."""
    requests: float
    """To the API server for each Workspace, of the kinds that we own."""
    calls: float
    """Of the sync hook for each Workspace."""
    refused: int
    """Calls that were not answered with 200."""
    resync_seconds: float
    resync_writes: int
    hook_cpu_ms: float
    """Of a processor for each Workspace."""
    hook_mib: float
    loop_mib: float
    p50_ms: float
    p99_ms: float
    """Of the sync calls, from the hook's own log; 0 for a hook that has none."""


class Bench:
    """One control plane, one hook and one loop."""

    def __init__(self, plane: ControlPlane, hook: HookProcess, log: Path, count: int) -> None:
        self.plane, self.hook, self.log, self.count = plane, hook, log, count
        self.api = Connection(plane.kubeconfig)

    def run(self, program: str | None) -> Figures:
        """Create, measure, resync, measure."""
        self._create_workspaces()
        loop = loops.start(self.plane, program, self.log.parent)
        try:
            return self._measure(loop)
        finally:
            loop.stop()

    def _measure(self, loop: loops.Loop) -> Figures:
        worker = children_of(self.hook.pid)
        before, cpu, began = self._requests(), cpu_seconds(worker), time.monotonic()
        self.api.request("POST", CONTROLLERS, composite_controller(self.hook.address))
        self._wait(
            "children", lambda: all(self._count(path) >= self.count for path in CHILDREN.values())
        )
        seconds = time.monotonic() - began
        self._wait_quiet()
        requests = sum(self._requests().values()) - sum(before.values())
        calls, cpu = self._calls(), cpu_seconds(worker) - cpu
        resync_seconds, writes = self._resync(calls)
        latencies, refused = self._logged()
        return Figures(
            seconds=seconds,
            requests=requests / self.count,
            calls=calls / self.count,
            refused=refused,
            resync_seconds=resync_seconds,
            resync_writes=writes,
            hook_cpu_ms=cpu / self.count * 1000,
            hook_mib=memory_mib(worker),
            loop_mib=memory_mib([loop.pid]),
            p50_ms=quantile(latencies, 0.5) * 1000,
            p99_ms=quantile(latencies, 0.99) * 1000,
        )

    def _create_workspaces(self) -> None:
        self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

        def create(number: int) -> None:
            self.api.request("POST", WORKSPACES, workspace(f"w{number:05d}"))

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done, _ in enumerate(pool.map(create, range(self.count)), 1):
                if done % 1000 == 0:
                    say(f"{done:,} Workspaces created, {time.monotonic() - began:.0f} s")

    def _resync(self, calls_before: float) -> tuple[float, int]:
        """Any edit of the spec makes Metacontroller look at every parent again."""
        before, began = self._requests(), time.monotonic()
        found = self.api.request("GET", f"{CONTROLLERS}/bench")
        found["spec"]["resyncPeriodSeconds"] = 3600
        self.api.request("PUT", f"{CONTROLLERS}/bench", found)
        self._wait("resync", lambda: self._calls() - calls_before >= self.count)
        seconds = time.monotonic() - began
        self._wait_quiet()
        after = self._requests()
        return seconds, int(
            sum(after[key] - before.get(key, 0) for key in after if key[0] in WRITES)
        )

    def _count(self, path: str) -> int:
        found = self.api.request("GET", path, query={"limit": "1"})
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount", 0))

    def _requests(self) -> dict[tuple[str, str], float]:
        """apiserver_request_total by verb and resource, without reads by list and watch and the job controller's."""
        text = kubectl(self.plane, "get", "--raw", "/metrics")
        found: dict[tuple[str, str], float] = {}
        for line in text.splitlines():
            if line.startswith("apiserver_request_total{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                by_job_controller = (
                    labels["resource"] == "jobs" and labels.get("subresource") == "status"
                )
                if (
                    labels["resource"] in OURS
                    and not by_job_controller
                    and labels["verb"] not in ("WATCH", "LIST")
                ):
                    key = (labels["verb"], labels["resource"])
                    found[key] = found.get(key, 0) + float(line.rpartition(" ")[2])
        return found

    def _calls(self) -> float:
        with urllib.request.urlopen(f"http://{self.hook.address}/metrics", timeout=30) as answer:
            text = str(answer.read().decode())
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("kaito_hook_call_seconds_count") and "/workspace/sync" in line
        )

    def _logged(self) -> tuple[list[float], int]:
        """Seconds of each sync call that was answered, in order, and how many calls were refused."""
        lines = [
            line for line in self.log.read_text(encoding="utf-8").splitlines() if line[:1] == "{"
        ]
        calls = [call for call in map(json.loads, lines) if "duration_seconds" in call]
        answered = [call for call in calls if call["code"] == 200]
        syncs = [call for call in answered if call["route"] == "/workspace/sync"]
        return sorted(call["duration_seconds"] for call in syncs), len(calls) - len(answered)

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        seconds = PATIENCE_SECONDS + self.count * PATIENCE_EACH
        end, said = time.monotonic() + seconds, time.monotonic()
        while not reached():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} took more than {seconds:.0f} s")
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                say(f"{what}: {', '.join(f'{self._count(p):,} {k}' for k, p in CHILDREN.items())}")
            time.sleep(0.25)

    def _wait_quiet(self) -> None:
        """Until the hook has not been asked for some seconds."""
        calls, since = self._calls(), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.2)
            if (now := self._calls()) != calls:
                calls, since = now, time.monotonic()


def quantile(ordered: list[float], share: float) -> float:
    """The value below which that share lies; 0 for nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def workspace(name: str) -> dict[str, Any]:
    plain = {"uid": None, "generation": None, "creationTimestamp": None}
    labels = {"matchLabels": {"app": name}}
    return merged(
        tuning_workspace(),
        {
            "metadata": {**plain, "name": name, "namespace": NAMESPACE},
            "resource": {"labelSelector": labels},
        },
    )


def composite_controller(address: str) -> dict[str, Any]:
    """manifests/base with the hook reached by URL."""
    text = (ROOT / "manifests/base/workspace-hook/controller.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["metadata"] = {"name": "bench", "labels": {"app.kubernetes.io/part-of": "kaito"}}
    for name, hook in found["spec"]["hooks"].items():
        hook["webhook"] = {"url": f"http://{address}/workspace/{name}", "timeout": "30s"}
    return found


@contextmanager
def plane(pods: bool) -> Iterator[ControlPlane]:
    """A control plane that knows our kinds; without pods the Jobs make none."""
    started = ControlPlane(binaries.find(), () if pods else ("job-controller",)).start()
    try:
        kubectl(started, "apply", "-k", ROOT / "crds")
        wait_for_kinds(started)
        yield started
    finally:
        started.stop()


def say(words: str) -> None:
    print(f"  {words}", flush=True)
