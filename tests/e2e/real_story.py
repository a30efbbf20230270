"""A scene on a real API server: time is real, so what a story needs is waited for."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from types import TracebackType
from typing import Any, Protocol, Self

from kaito_laptop.controllers.cluster_nodes import LAPTOP, ClusterNodes, ready_node
from kaito_laptop.controllers.owned import is_active
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import ClusterError, Key, Manifest, NotFound
from kaito_laptop.core.event_loop import EventLoop, NeverHappens
from kaito_laptop.core.objects import get, name
from kaito_laptop.kubelet.leases import NodeLeases
from kaito_laptop.metacontroller.hooks import HookAnswer, HookCaller

from tests.e2e.control_plane import ControlPlane
from tests.e2e.fake_clock import FakeClock
from tests.e2e.hook_proxy import HookProxy, sooner
from tests.harness.api_server import ApiServer
from tests.harness.arm import ScriptedArmServer, ScriptedCluster
from tests.harness.hook_callers import CheckedCaller, HookCall, WsgiApp, WsgiCaller
from tests.harness.scripted_kubelet import ScriptedKubelet
from tests.harness.story import Story, check_wire, gpus, host_memory

SOON_SECONDS, LONG_SECONDS, REST_SECONDS = 60.0, 240.0, 1.5
STEP_SECONDS = 60.0
"""More than the Machine hook waits until it believes that a pool is gone."""
LOOK_SECONDS, STEPS = 0.05, 1000
HOOK_SECONDS, POOL_SECONDS = 30.0, 1.0
EDITOR = "sed -i -e s/ACR_REPO_HERE/mlteam/ -e s/IMAGE_NAME_HERE/phi-3/"
"""What `kubectl edit` opens here: it writes real names."""
SEEN = ("Workspace", "Machine", "Job", "Deployment", "Service", "Pod", "Node")
_stories, _addresses = count(1), count(10)


class Loop(Protocol):
    """Metacontroller, the real one or ours."""

    def start(self) -> None: ...

    def kill(self) -> None: ...


class RealStory(Story):
    """One story in a namespace of its own; what it leaves is removed at its end."""

    many = 60

    def __init__(
        self,
        plane: ControlPlane,
        proxy: HookProxy,
        loop: Callable[[RealStory], Loop],
    ) -> None:
        self.plane = plane
        self.clock = self._fake_clock = FakeClock()
        self.namespace = f"story-{next(_stories)}"
        self.calls = []
        self.trouble: list[BaseException] = []
        self.log = io.StringIO()
        event_loop = EventLoop(RealClock())
        self._server = ApiServer(plane.kubeconfig, event_loop.post)
        addresses: dict[str, str] = {}

        def address(pod: Manifest) -> str:
            """One of its own for each pod: EndpointSlices take no loopback address."""
            return addresses.setdefault(pod["metadata"]["uid"], _nominal(next(_addresses)))

        super().__init__(self._server, event_loop, ClusterNodes(self._server, event_loop))
        self.kubelet = self.make_kubelet(self._server, event_loop, address)
        self._apps: dict[str, WsgiApp] = {}
        self.hooks: HookCaller = WsgiCaller(self._apps)
        """May be replaced while the story runs, for a hook that is down."""
        self._proxy = proxy
        self._parents: set[str] = set()
        self._changed = time.monotonic()
        self.loop = loop(self)

    def make_kubelet(
        self, server: ApiServer, event_loop: EventLoop, address: Callable[[Manifest], str]
    ) -> ScriptedKubelet:
        """What plays the pods."""
        return ScriptedKubelet(server, event_loop, self.soon, address)

    def __enter__(self) -> Self:
        cluster = self.cluster
        cluster.watch([cluster.resource(*_named(each)) for each in SEEN], self._see)
        cluster.create(_restricted(self.namespace))
        self.nodes.add(ready_node(LAPTOP, self.event_loop))
        self._leases = NodeLeases(self._server, self.event_loop)
        self.soon(lambda: self.find("ServiceAccount", "default") is not None)
        self.soon(lambda: self.find("ConfigMap", "kube-root-ca.crt") is not None)
        self.remember_what_is_there()
        self._proxy.answer = self._answer
        self.loop.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.kill()
        self._proxy.answer = None
        self._leases.stop()
        self._sweep()
        self._server.close()
        if error is None:
            self._raise_trouble()

    def serve(self, address: str, app: WsgiApp) -> None:
        self._apps[address] = app

    def stop_metacontroller(self) -> None:
        self.loop.kill()

    def start_metacontroller(self) -> None:
        self.loop.start()

    def patiently(self, reached: Callable[[], bool]) -> None:
        """Wait for what takes its time, such as a training; no time is leapt over."""
        self._wait(reached, LONG_SECONDS)

    def settle(self) -> None:
        """Wait until nothing has changed for a while."""
        self._wait(lambda: time.monotonic() > self._changed + REST_SECONDS, LONG_SECONDS)

    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        """Wait; when the cluster is at rest, the hooks and Azure see some time pass at once."""
        self._wait(reached, LONG_SECONDS, STEP_SECONDS)

    def soon(self, reached: Callable[[], bool]) -> None:
        self._wait(reached, SOON_SECONDS)

    def pod(self, owner: str = "", **selector: str) -> Manifest:
        """Return the only pod that is still to play, once it is there and bound to a node."""
        found: list[Manifest] = []

        def is_there() -> bool:
            found[:] = [pod for pod in self.pods(owner, **selector) if is_active(pod)]
            return len(found) == 1 and bool(get(found[0], "spec", "nodeName"))

        self.soon(is_there)
        return found[0]

    def _wait(self, reached: Callable[[], bool], seconds: float, step: float = 0) -> None:
        end = time.monotonic() + seconds
        self._changed = time.monotonic()
        while True:
            self._work()
            self._raise_trouble()
            if reached():
                return
            if step and time.monotonic() > self._changed + REST_SECONDS:
                self._fake_clock.step(step)
                self.arm.advance()
                self._changed = time.monotonic()
            if time.monotonic() > end:
                raise NeverHappens(f"it did not happen within {seconds:g} s:\n{self._tell()}")
            self.event_loop.wait(LOOK_SECONDS)

    def _work(self) -> None:
        """Do what is ready; not for ever, however fast changes come."""
        for _ in range(STEPS):
            if not self.event_loop.step():
                return

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl in the story's namespace while the cluster goes on; return what it prints."""
        command = ["kubectl", f"--kubeconfig={self.plane.kubeconfig}", "-n", self.namespace]
        with ThreadPoolExecutor(1) as threads:
            done = threads.submit(
                subprocess.run,
                [*command, *words],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "KUBE_EDITOR": EDITOR},
            )
            self.run_until(done.done)
        answer = done.result()
        if answer.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(words)}: {answer.stderr}")
        return answer.stdout

    def _answer(self, path: str, body: bytes) -> HookAnswer:
        """Call the hook of that path; in a thread of the proxy."""
        host = "workspace-hook" if path.startswith("/workspace/") else "node-provisioner"
        try:
            caller = CheckedCaller(self.hooks, [self.calls.append, self._check])
            answer = caller(f"http://{host}.kaito-system:80{path}", body, HOOK_SECONDS)
            return sooner(answer, len(self._parents))
        except AssertionError as error:
            self.trouble.append(error)
            raise

    def _check(self, call: HookCall) -> None:
        # Parents of an earlier story may still be on their way out.
        metadata = call.request_json()["parent"]["metadata"]
        if metadata["namespace"] == self.namespace:
            self._parents.add(metadata["uid"])
            check_wire(call)

    def _raise_trouble(self) -> None:
        if self.trouble:
            raise self.trouble[0]

    def _see(self, _: object) -> None:
        self._changed = time.monotonic()

    def _everything(self) -> Sequence[Manifest]:
        """What is in the story's namespace, and the nodes."""
        return [
            each
            for resource in self.cluster.resources()
            if resource.kind == "Node" or (resource.namespaced and resource.kind != "Event")
            for each in self.cluster.list(resource, self.namespace if resource.namespaced else None)
        ]

    def _sweep(self) -> None:
        """Remove what the story left, whatever state it is in; nobody acts on it any more.

        A namespace goes in its own time, and what is still in it would get nodes in the next story's Azure:
        so Workspaces and Machines are gone before that one begins.
        """
        parents = ("Workspace", "Machine")
        for kind in parents:
            for each in self.list(kind):
                with suppress(NotFound):
                    self.edit(kind, name(each), lambda item: item["metadata"].pop("finalizers", 0))
                with suppress(NotFound):
                    self.cluster.delete(self._key(kind, name(each), self.namespace))
        self.cluster.delete(self._key("Namespace", self.namespace, ""))
        for node in self.list("Node"):
            if name(node) != LAPTOP:
                self.cluster.delete(self._key("Node", name(node), ""))
        for pod in self.list("Pod"):
            with suppress(NotFound):
                key = Key(self.cluster.resource("v1", "Pod"), name(pod), self.namespace)
                self.cluster.delete(key, grace_period_seconds=0)
        self.soon(lambda: not any(self.list(kind) for kind in parents))

    def _tell(self) -> str:
        """What the cluster looks like, for the one who reads a failure."""
        lines = []
        with suppress(ClusterError):
            for each in self.list("Workspace"):
                lines.append(f"Workspace {name(each)}: {self.words(name(each))}")
            for each in self.list("Machine"):
                lines.append(f"Machine {name(each)}: {get(each, 'status', 'conditions')}")
            for each in self.list("Pod"):
                status = each["status"]
                lines.append(f"Pod {name(each)}: {status['phase']} {status.get('conditions')}")
            for each in self.list("Event"):
                lines.append(f"Event {each['reason']}: {get(each, 'message', default='')[:300]}")
        return "\n".join([*lines, self.plane.tail("metacontroller")])


@contextmanager
def real_story(story: RealStory, **settings: Any) -> Iterator[RealStory]:
    """A story on a real control plane; what it starts is gone when it ends."""
    story.arm = ScriptedCluster(
        story.clock,
        story.nodes,
        gpus(),
        memory=host_memory(),
        create_seconds=POOL_SECONDS,
        delete_seconds=POOL_SECONDS,
    )
    with ScriptedArmServer(story.arm, moves_by_itself=True) as story.azure:
        story.install(story.clock, **settings)
        with story:
            yield story


def _named(kind: str) -> tuple[str, str]:
    groups = {
        "Workspace": "kaito.sh/v1alpha1",
        "Machine": "kaito.sh/v1alpha1",
        "Job": "batch/v1",
        "Deployment": "apps/v1",
    }
    return groups.get(kind, "v1"), kind


def _restricted(namespace: str) -> Manifest:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _nominal(number: int) -> str:
    return f"10.88.{number // 256 % 256}.{number % 256}"
