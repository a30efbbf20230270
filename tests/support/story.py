"""A cluster of the laptop with both hooks and the ARM stand-in, for stories.

Pods do nothing until the story says so; Azure's real client speaks to the stand-in over loopback; time is virtual.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kaito_hooks.aks.provider import AksProvider
from kaito_hooks.settings import MachineSettings, WorkspaceSettings
from kaito_hooks.web.machine import create_machine_app
from kaito_hooks.web.workspace import create_workspace_app, load_presets
from kaito_laptop.arm import ArmServer, ManagedCluster
from kaito_laptop.arm.cluster import SUBSCRIPTION
from kaito_laptop.metacontroller.hooks import HookCall
from kaito_laptop.world import MACHINE_HOOK, WORKSPACE_HOOK, World

from support import wire
from support.builders import inference_workspace, merged, tuning_workspace

NAME = "workspace-tuning-phi-3"
OURS: dict[str, Any] = {
    "metadata": {"namespace": "default", "uid": None, "generation": None, "creationTimestamp": None}
}
"""A builder's object as a user writes it."""
TUNING = merged(tuning_workspace(), OURS)
INFERENCE = merged(inference_workspace(), OURS)
DIGEST = "sha256:" + "9f" * 32
IMAGE = "mlteam.azurecr.io/adapters/phi-3:0.0.1"
TRAINED = {
    "steps": 120,
    "firstLoss": 3.21,
    "lastLoss": 0.41,
    "seconds": 14.2,
    "quantization": "nf4",
}


class Story(World):
    """The world, with words for what happens to a Workspace."""

    arm: ManagedCluster
    azure: ArmServer
    log: io.StringIO

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
        self.settle()

    def tunes(self, workspace: str = NAME, digest: str = DIGEST) -> None:
        """The pod of the Job brings weights and data, trains and pushes."""
        pod = self.pod(workspace, **{"app.kubernetes.io/component": "tuning"})
        self.kubelet.start(pod)
        self.kubelet.succeed(pod, "weights", {"bytes": 7})
        self.kubelet.succeed(pod, "data", {"bytes": 7})
        self.kubelet.succeed(pod, "train", TRAINED)
        image = self.get("Workspace", workspace)["tuning"]["output"]["image"]
        self.kubelet.succeed(pod, "docker-sidecar", {"image": image, "digest": digest})

    def serves(self, workspace: str = NAME, tuned: bool = True) -> None:
        pod = self.pod(workspace, **{"app.kubernetes.io/component": "inference"})
        self.kubelet.start(pod)
        self.kubelet.succeed(pod, "weights", {"bytes": 7})
        if tuned:
            self.kubelet.succeed(pod, "adapter", {"bytes": 7})
        self.kubelet.ready(pod, workspace)

    def becomes_ready(self, workspace: str = NAME) -> None:
        """The whole way."""
        self.check_succeeds(workspace)
        self.nodes_come(workspace)
        self.tunes(workspace)
        self.serves(workspace)
        assert self.is_true(workspace, "WorkspaceReady"), self.words(workspace)

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
        self.settle()
        self.assert_nothing_remains()
        assert self.pools() == []

    def is_a_fixed_point(self) -> None:
        """Let an hour of resyncs pass and see nothing change."""
        self.settle()
        before = self.snapshot()
        self.advance(3600)
        assert self.snapshot() == before

    def snapshot(self) -> dict[str, str]:
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for kind in ("Workspace", "Machine", "Job", "Deployment", "Service", "Secret", "Pod")
            for item in self.list(kind)
        }


def check_wire(call: HookCall) -> None:
    wire.check(call.path, call.request_json(), call.answer.status, call.answer.body)


@contextmanager
def story(**settings: Any) -> Iterator[Story]:
    """A story; what it starts is gone when it ends."""
    presets = load_presets()
    gpus = {name: size.gpus for name, size in presets.instance_types.items()}
    late: dict[str, Any] = {}
    log = io.StringIO()

    def machine_hook(environ: Any, start: Any) -> Any:
        return late["machine"](environ, start)

    def workspace_hook(environ: Any, start: Any) -> Any:
        return late["workspace"](environ, start)

    def drive(_: HookCall | None = None) -> None:
        """Azure's own time: a timer for its next change."""
        due = late["arm"].next_change()
        if due is not None and due not in late["timers"]:
            late["timers"].add(due)
            late["world"].engine.after(
                max(0.0, due - late["world"].clock.seconds()), lambda: tick(due)
            )

    def tick(due: float) -> None:
        late["timers"].discard(due)
        late["arm"].advance()
        drive()

    late["timers"] = set()
    world = Story({WORKSPACE_HOOK: workspace_hook, MACHINE_HOOK: machine_hook}, [check_wire, drive])
    arm = ManagedCluster(world.clock, world.nodes, gpus)
    late.update(arm=arm, world=world)
    with world, ArmServer(arm) as azure:
        machine_settings = MachineSettings(
            subscription_id=SUBSCRIPTION,
            resource_group="laptop",
            cluster_name="laptop",
            install_id="kaito",
            arm_endpoint=azure.url,
        )
        workspace_settings = WorkspaceSettings(
            preset_registry="mcr.microsoft.com/aks/kaito",
            transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
            tuning_image=settings.get("tuning_image", "ghcr.io/kaito-python/tuning:0.1.0"),
            inference_image="ghcr.io/kaito-python/inference:0.1.0",
            compute_capabilities=("7.0", "7.5", "8.0", "8.6", "8.9", "9.0"),
        )
        late["machine"] = create_machine_app(
            AksProvider(machine_settings, world.clock.now), world.clock.now, log_stream=log
        )
        late["workspace"] = create_workspace_app(
            workspace_settings, world.clock.now, log_stream=log
        )
        world.arm, world.azure, world.log = arm, azure, log
        yield world
