"""A Workspace's story, on any cluster: both hooks, the ARM stand-in, and pods that do what the story says.

On the cluster in memory time is virtual and everything is followed through at once; on a real one the same
words wait for what they need. Azure's real client speaks to the stand-in over loopback everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kaito_hooks.kube.quantities import binary
from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.machine import create_machine_app
from kaito_hooks.web.workspace import create_workspace_app, load_presets
from kaito_laptop.azure.cluster import SUBSCRIPTION
from kaito_laptop.core.clock import Clock, VirtualClock
from kaito_laptop.core.objects import is_true, uid
from kaito_laptop.core.package_data import MACHINE_HOOK, WORKSPACE_HOOK
from kaito_laptop.metacontroller.hooks import HookCaller

from tests.harness import wire
from tests.harness.arm import ScriptedArmServer, ScriptedCluster
from tests.harness.builders import inference_workspace, merged, tuning_workspace
from tests.harness.cluster_client import ClusterClient
from tests.harness.faulty_hooks import FAULTY
from tests.harness.hook_callers import HookCall, WsgiApp
from tests.harness.scripted_kubelet import ScriptedKubelet
from tests.harness.simulation import Simulation

NAME = "workspace-tuning-phi-3"
OURS: dict[str, Any] = {
    "metadata": {"namespace": None, "uid": None, "generation": None, "creationTimestamp": None}
}
"""A builder's object as a user writes it."""
TUNING = merged(tuning_workspace(), OURS)
INFERENCE = merged(inference_workspace(), OURS)
SERVED = INFERENCE["metadata"]["name"]
DIGEST = "sha256:" + "9f" * 32
IMAGE = "mlteam.azurecr.io/adapters/phi-3:0.0.1"
TRAINED = {
    "steps": 120,
    "firstLoss": 3.21,
    "lastLoss": 0.41,
    "seconds": 14.2,
    "quantization": "nf4",
}


class Story(ClusterClient):
    """A scene with words for what happens to a Workspace."""

    arm: ScriptedCluster
    kubelet: ScriptedKubelet
    azure: ScriptedArmServer
    log: io.StringIO
    calls: list[HookCall]
    clock: Clock
    many = 12
    """How many Workspaces are many here."""
    hooks: HookCaller
    """Answers for both hooks; a story may put something else in its place."""

    def serve(self, address: str, app: WsgiApp) -> None:
        """Let this app answer as the hook of that address, from now on."""
        raise NotImplementedError

    def stop_metacontroller(self) -> None:
        """Kill it."""
        raise NotImplementedError

    def start_metacontroller(self) -> None:
        """Start it again."""
        raise NotImplementedError

    def install(self, clock: Clock, **settings: Any) -> None:
        """Serve both hooks with these settings; again for an upgrade."""
        self.serve(MACHINE_HOOK, machine_app(self.azure.url, clock, self.log))
        self.serve(WORKSPACE_HOOK, workspace_app(clock, self.log, **settings))

    def check_succeeds(self, workspace: str = NAME) -> None:
        pod = self.pod(f"{workspace}-check")
        self.kubelet.start(pod)
        self.kubelet.succeed(pod, "check", {"rows": 15011, "columns": ["messages"], "files": []})

    def check_fails(self, reason: str, message: str, workspace: str = NAME) -> None:
        pod = self.pod(f"{workspace}-check")
        self.kubelet.start(pod)
        self.kubelet.fail(pod, "check", message={"reason": reason, "message": message})

    def nodes_come(self, workspace: str = NAME) -> None:
        self.run_until(lambda: self.is_true(workspace, "ResourceReady"))
        self.follow()

    def tunes(self, workspace: str = NAME, digest: str = DIGEST) -> None:
        """The pod of the Job brings weights and data, trains and pushes."""
        pod = self.pod(workspace, **{"app.kubernetes.io/component": "tuning"})
        self.kubelet.start(pod)
        self.kubelet.succeed(pod, "weights", {"bytes": 7})
        self.kubelet.succeed(pod, "data", {"bytes": 7})
        self.kubelet.succeed(pod, "train", TRAINED)
        image = self.get("Workspace", workspace)["tuning"]["output"]["image"]
        self.kubelet.succeed(pod, "docker-sidecar", {"image": image, "digest": digest})

    def serves(self, workspace: str = NAME) -> None:
        pod = self.pod(workspace, **{"app.kubernetes.io/component": "inference"})
        self.kubelet.start(pod)
        for container in pod["spec"].get("initContainers", ()):
            self.kubelet.succeed(pod, container["name"], {"bytes": 7})
        self.kubelet.ready(pod, workspace)

    def becomes_ready(self, workspace: str = NAME) -> None:
        """The whole way."""
        self.check_succeeds(workspace)
        self.nodes_come(workspace)
        self.tunes(workspace)
        self.serves(workspace)
        self.becomes("WorkspaceReady", workspace)

    def becomes(self, type_: str, workspace: str = NAME, status: bool = True) -> None:
        """The condition comes to be True, or no longer is."""
        self.soon(lambda: self.is_true(workspace, type_) == status)

    def says(self, reason: str, workspace: str = NAME) -> str:
        """Ready comes to have this reason; return the message."""
        self.soon(lambda: self.words(workspace)[0] == reason)
        return self.words(workspace)[1]

    def is_replaced(self, pod: dict[str, Any], owner: str, **selector: str) -> bool:
        """Whether the pod is gone and another one is there."""
        found = self.pods(owner, **selector)
        return bool(found) and uid(pod) not in [uid(each) for each in found]

    def all_are(self, type_: str) -> bool:
        """Whether the condition is True for every Workspace."""
        return all(is_true(each, type_) for each in self.list("Workspace"))

    def machine(self) -> str:
        """Return the name of the only Machine, once it is there."""
        self.soon(lambda: len(self.machines()) == 1)
        return self.machines()[0]

    def machines(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.list("Machine")]

    def pools(self) -> list[str]:
        return self.arm.pool_names()

    def words(self, workspace: str = NAME) -> tuple[str, str]:
        """Reason and message of Ready."""
        ready = self.condition(workspace, "Ready")
        return ready["reason"], ready["message"]

    def deleted(self, workspace: str = NAME, propagation: Any = "Background") -> None:
        """Delete, wait until it is gone, and look at every kind and at Azure."""
        self.delete("Workspace", workspace, propagation=propagation)
        self.run_until(lambda: self.find("Workspace", workspace) is None)
        self.run_until(lambda: not self.pools() and not self.machines())
        self.soon(lambda: not self.remaining())
        self.settle()
        self.assert_nothing_remains()
        assert self.pools() == []

    def is_a_fixed_point(self) -> None:
        """Let everything be looked at again and see nothing change."""
        self.settle()
        before = self.snapshot()
        self.let_resyncs_pass()
        assert self.snapshot() == before

    def snapshot(self) -> dict[str, str]:
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for kind in ("Workspace", "Machine", "Job", "Deployment", "Service", "Secret", "Pod")
            for item in self.list(kind)
        }


class MemoryStory(Story, Simulation):
    """On the cluster in memory."""

    clock: VirtualClock

    def serve(self, address: str, app: WsgiApp) -> None:
        Simulation.serve(self, address, app)

    def stop_metacontroller(self) -> None:
        self.metacontroller.stop()

    def start_metacontroller(self) -> None:
        Simulation.start_metacontroller(self)


def check_wire(call: HookCall) -> None:
    if set(FAULTY.items()) <= set(call.answer.headers.items()):
        return
    wire.check(call.path, call.request_json(), call.answer.status, call.answer.body)


def gpus() -> dict[str, int]:
    """How many GPUs each size has."""
    return {name: size.gpus for name, size in load_presets().instance_types.items()}


def host_memory() -> dict[str, str]:
    """How much memory the virtual machine of each size has."""
    return {name: binary(size.host_memory) for name, size in load_presets().instance_types.items()}


def machine_app(arm: str, clock: Clock, log: io.StringIO) -> WsgiApp:
    settings = AksSettings(
        subscription_id=SUBSCRIPTION,
        resource_group="laptop",
        cluster_name="laptop",
        install_id="kaito",
        arm_endpoint=arm,
    )
    return create_machine_app(AksProvider(settings, clock.now), clock.now, log_stream=log)


def workspace_app(clock: Clock, log: io.StringIO, **changes: Any) -> WsgiApp:
    settings: dict[str, Any] = {
        "preset_registry": "mcr.microsoft.com/aks/kaito",
        "transfer_image": "ghcr.io/kaito-python/transfer:0.1.0",
        "tuning_image": "ghcr.io/kaito-python/tuning:0.1.0",
        "inference_image": "ghcr.io/kaito-python/inference:0.1.0",
        "compute_capabilities": ("7.0", "7.5", "8.0", "8.6", "8.9", "9.0"),
    }
    return create_workspace_app(
        WorkspaceSettings(**{**settings, **changes}), clock.now, log_stream=log
    )


class _AzureTime:
    """Moves Azure when its next change is due on the story's clock."""

    def __init__(self) -> None:
        self.story: MemoryStory | None = None
        self._due: set[float] = set()

    def __call__(self, _: HookCall | None = None) -> None:
        assert self.story is not None
        due = self.story.arm.next_change()
        if due is not None and due not in self._due:
            self._due.add(due)
            seconds = due - self.story.clock.seconds()
            self.story.event_loop.after(seconds, lambda: self._tick(due))

    def _tick(self, due: float) -> None:
        assert self.story is not None
        self._due.discard(due)
        self.story.arm.advance()
        self()


@contextmanager
def memory_story(**settings: Any) -> Iterator[MemoryStory]:
    """A story in memory; what it starts is gone when it ends."""
    azure_time = _AzureTime()
    story = MemoryStory(checkers=[check_wire, azure_time])
    story.arm = ScriptedCluster(story.clock, story.nodes, gpus(), memory=host_memory())
    story.log = io.StringIO()
    azure_time.story = story
    with story, ScriptedArmServer(story.arm) as story.azure:
        story.install(story.clock, **settings)
        yield story
