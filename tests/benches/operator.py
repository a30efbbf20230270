"""`make bench-operator N=1000`: N Workspaces at once on a real API server, and then a full resync.

Beside ours, in the same run, a hook that decides nothing and returns the same children and status: what is
over its time is ours. No kubelet: pods stay Pending.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benches.hook import SETTINGS, Target, children_of, memory_mib, single
from e2e import binaries, metacontroller
from e2e.control_plane import ControlPlane
from e2e.install import METACONTROLLER_CRDS, ROOT, kubectl
from kaito_laptop.api_connection import Connection
from kaito_laptop.hook_processes import HookProcess

from support.builders import merged, request, tuning_workspace

NAMESPACE = "bench"
CONTROLLERS = "/apis/metacontroller.k8s.io/v1alpha1/compositecontrollers"
WORKSPACES = f"/apis/kaito.sh/v1alpha1/namespaces/{NAMESPACE}/workspaces"
CHILDREN = {
    "services": f"/api/v1/namespaces/{NAMESPACE}/services",
    "secrets": f"/api/v1/namespaces/{NAMESPACE}/secrets",
    "jobs": f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
}
OURS = {*CHILDREN, "workspaces", "machines", "deployments", "statefulsets"}
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
CLIENTS = 16
QUIET_SECONDS = 3.0


@dataclass(frozen=True)
class Figures:
    seconds: float
    requests: float
    """To the API server for each Workspace, of the kinds that we own."""
    calls: float
    """Of the sync hook for each Workspace."""
    resync_seconds: float
    resync_writes: int
    hook_mib: float
    metacontroller_mib: float
    p50: float
    p99: float


class Bench:
    """One control plane and one hook."""

    def __init__(self, plane: ControlPlane, hook: HookProcess, count: int) -> None:
        self.plane, self.hook, self.count = plane, hook, count
        self.api = Connection(plane.kubeconfig)

    def run(self, program: str) -> Figures:
        self._create_workspaces()
        runner = metacontroller.MetacontrollerProcess(self.plane, program)
        runner.start()
        before, began = self._requests(), time.monotonic()
        self.api.request("POST", CONTROLLERS, composite_controller(self.hook.address))
        self._wait(
            "children", lambda: all(self._count(path) >= self.count for path in CHILDREN.values())
        )
        seconds = time.monotonic() - began
        self._wait_quiet()
        requests = sum(self._requests().values()) - sum(before.values())
        calls = self._calls()
        resync_seconds, writes = self._resync(calls)
        return Figures(
            seconds=seconds,
            requests=requests / self.count,
            calls=calls / self.count,
            resync_seconds=resync_seconds,
            resync_writes=writes,
            hook_mib=memory_mib(children_of(self.hook.pid)),
            metacontroller_mib=memory_mib([runner.pid]),
            p50=self._quantile(0.5),
            p99=self._quantile(0.99),
        )

    def _create_workspaces(self) -> None:
        self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})

        def create(number: int) -> None:
            self.api.request("POST", WORKSPACES, workspace(f"w{number:05d}"))

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done, _ in enumerate(pool.map(create, range(self.count)), 1):
                if done % 1000 == 0:
                    print(
                        f"  {done:,} Workspaces created, {time.monotonic() - began:.0f} s",
                        flush=True,
                    )

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
        return sum(
            float(line.rpartition(" ")[2])
            for line in self._metrics().splitlines()
            if line.startswith("kaito_hook_call_seconds_count") and "/workspace/sync" in line
        )

    def _quantile(self, share: float) -> float:
        """Upper bound in milliseconds of the bucket that holds that share of the sync calls."""
        buckets = [
            (float(match[1].replace("+Inf", "inf")), float(match[2]))
            for match in re.finditer(
                r'kaito_hook_call_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} ([\d.e+]+)',
                self._metrics(),
            )
            if "/workspace/sync" in match[0]
        ]
        total = max((count for _, count in buckets), default=0)
        return min((bound for bound, count in buckets if count >= share * total), default=0) * 1000

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.hook.address}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def _wait(self, what: str, reached: Callable[[], bool], seconds: float = 1800) -> None:
        end, said = time.monotonic() + seconds, time.monotonic()
        while not reached():
            if time.monotonic() > end:
                raise TimeoutError(f"{what} took more than {seconds:.0f} s")
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(
                    f"  {what}: {', '.join(f'{self._count(p):,} {k}' for k, p in CHILDREN.items())}",
                    flush=True,
                )
            time.sleep(0.05)

    def _wait_quiet(self) -> None:
        """Until the hook has not been asked for some seconds."""
        calls, since = self._calls(), time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(0.2)
            if (now := self._calls()) != calls:
                calls, since = now, time.monotonic()


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
    found["metadata"] = {"name": "bench"}
    for name, hook in found["spec"]["hooks"].items():
        hook["webhook"] = {"url": f"http://{address}/workspace/{name}", "timeout": "30s"}
    return found


@contextmanager
def planes() -> Iterator[ControlPlane]:
    plane = ControlPlane(binaries.find()).start()
    try:
        for path in (
            METACONTROLLER_CRDS,
            ROOT / "crds/kaito.sh_workspaces.yaml",
            ROOT / "crds/kaito.sh_machines.yaml",
        ):
            kubectl(plane, "apply", "-f", path)
            kubectl(plane, "wait", "--for=condition=Established", "-f", path)
        yield plane
    finally:
        plane.stop()


def sample_answers(address: str) -> tuple[str, str]:
    """What our hook answers to the first sync and to customize, with a mark where the name is."""
    parent = merged(workspace("name-of-workspace"), {"metadata": {"uid": "u", "generation": 1}})
    body = json.dumps(request(parent)).encode()
    answers = [
        asyncio.run(single(Target.of(address, f"/workspace/{route}"), body))
        for route in ("sync", "customize")
    ]
    answers[0].pop("resyncAfterSeconds", None)
    sync, customize = (
        json.dumps(answer).replace("name-of-workspace", "NAME-OF-WORKSPACE") for answer in answers
    )
    return sync, customize


def measure(program: str, app: str, settings: dict[str, str], log: Path, count: int) -> Figures:
    hook = HookProcess(app, settings, log)
    try:
        hook.wait()
        with planes() as plane:
            return Bench(plane, hook, count).run(program)
    finally:
        hook.stop()


def main() -> int:
    """Print the figures of both; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args().count
    program = metacontroller.find()
    if program is None:
        print(metacontroller.HOW_TO_GET, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        first = HookProcess(
            "kaito_hooks.web.workspace:create_workspace_app()", SETTINGS, logs / "first.log"
        )
        try:
            first.wait()
            sync, customize = sample_answers(first.address)
            (logs / "sync").write_text(sync, encoding="utf-8")
            (logs / "customize").write_text(customize, encoding="utf-8")
        finally:
            first.stop()
        found = {}
        for name, app, settings in (
            ("floor", "benches.floor_hook:create_app()", {"ANSWERS": str(logs)}),
            ("ours", "kaito_hooks.web.workspace:create_workspace_app()", SETTINGS),
        ):
            print(f"{name}: {count:,} Workspaces, Metacontroller", flush=True)
            found[name] = measure(program, app, settings, logs / f"{name}.log", count)
            tell(name, found[name])
    ratio = found["ours"].seconds / found["floor"].seconds
    goal = 1.5 if count <= 1000 else 1.7
    print(
        f"ours / floor: {ratio:.2f} (goal <= {goal}); resync writes {found['ours'].resync_writes} (goal 0)"
    )
    return 0 if ratio <= goal and found["ours"].resync_writes == 0 else 1


def tell(name: str, figures: Figures) -> None:
    """One line for each part of the measurement."""
    print(
        f"  {name}: children after {figures.seconds:.1f} s, {figures.requests:.1f} requests and "
        f"{figures.calls:.1f} hook calls a Workspace"
    )
    print(f"  {name}: resync {figures.resync_seconds:.1f} s, {figures.resync_writes} writes")
    print(
        f"  {name}: hook {figures.hook_mib:.0f} MiB, p50 <= {figures.p50:.0f} ms, p99 <= {figures.p99:.0f} ms; "
        f"Metacontroller {figures.metacontroller_mib:.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
