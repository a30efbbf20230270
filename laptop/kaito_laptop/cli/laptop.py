"""Everything of `kaito up` on this computer: registry, ARM, hooks, cluster, kubelet, Services."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kaito_laptop.azure import ArmServer, Behaviour, Compute, ManagedCluster
from kaito_laptop.azure.cluster import SUBSCRIPTION
from kaito_laptop.cli.hook_processes import HookProcess
from kaito_laptop.controllers.cluster_nodes import ClusterNodes
from kaito_laptop.controllers.control_plane import control_plane
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.package_data import MACHINE_HOOK, WORKSPACE_HOOK, controllers
from kaito_laptop.core.state_folder import LOGS, REGISTRY
from kaito_laptop.kubelet.agent import Kubelet
from kaito_laptop.kubelet.leases import NodeLeases
from kaito_laptop.kubelet.processes import ProcessRuntime
from kaito_laptop.kubelet.services import ServiceProxy
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HttpCaller
from kaito_laptop.registry.server import Registry
from kaito_laptop.store.memory import MemoryCluster

REGISTRY_NAME = "registry.laptop"
"""Stands in manifests for the address of the registry, which is another one each time."""
PRESETS = "presets"
"""Where the images of the presets are; anybody may pull them."""
USER = "kaito"
IMAGES = {
    "KAITO_TRANSFER_IMAGE": "kaito.laptop/transfer:installed",
    "KAITO_TUNING_IMAGE": "kaito.laptop/tuning:installed",
    "KAITO_INFERENCE_IMAGE": "kaito.laptop/inference:installed",
}
"""Names of our own images: their code is what is installed here."""
CREATE_SECONDS, DELETE_SECONDS = 3.0, 2.0


@dataclass(slots=True)
class Laptop:
    """A running laptop cluster; `event_loop.run` in the thread that started it keeps it going."""

    state: Path
    event_loop: EventLoop = field(default_factory=lambda: EventLoop(RealClock()))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    cluster: MemoryCluster = field(init=False)
    nodes: ClusterNodes = field(init=False)
    kubelet: Kubelet = field(init=False)
    arm: ManagedCluster = field(init=False)
    registry: Registry = field(init=False)
    services: ServiceProxy = field(init=False)
    has_demo_model: bool = False
    """Whether the weights of `tiny-demo` are in the registry."""
    _ends: list[Callable[[], None]] = field(default_factory=list)

    def start(self, gpus: Mapping[str, int], memory: Mapping[str, str]) -> None:
        """Start everything; `gpus` and `memory` are those of each Azure size.

        The children end with the thread that calls this.
        """
        plane = control_plane(self.event_loop, secrets.randbits(32))
        self.cluster, self.nodes = plane.cluster, plane.nodes
        self.registry = Registry(self.state / REGISTRY, {USER: self.password}, [PRESETS])
        self.registry.start()
        self._ends.append(self.registry.stop)
        self.arm = ManagedCluster(
            self.event_loop.clock,
            self.nodes,
            Compute(gpus=gpus, memory=memory),
            Behaviour(create_seconds=CREATE_SECONDS, delete_seconds=DELETE_SECONDS),
        )
        arm = ArmServer(self.arm, moves_by_itself=True).start()
        self._ends.append(arm.stop)
        hooks = self._hooks(arm.url)
        self.services = ServiceProxy(self.cluster)
        self._ends.append(self.services.stop)
        runtime = ProcessRuntime(
            self.cluster, self.event_loop, self.state, lambda image: image in IMAGES.values()
        )
        self.kubelet = Kubelet(self.cluster, self.event_loop, runtime)
        self._ends.append(self.kubelet.close)
        self._ends.append(NodeLeases(self.cluster, self.event_loop).stop)
        for hook in hooks.values():
            hook.wait()
        caller = HttpCaller({name: hook.address for name, hook in hooks.items()})
        metacontroller = Metacontroller(self.cluster, self.event_loop, caller)
        self._ends.append(metacontroller.stop)
        for each in controllers():
            self.cluster.create(each)

    def _hooks(self, arm: str) -> dict[str, HookProcess]:
        logs = self.state / LOGS / "hooks"
        hooks = {}
        for name, app, settings in (
            (
                WORKSPACE_HOOK,
                "kaito_hooks.web.workspace:create_workspace_app()",
                {
                    **IMAGES,
                    "PRESET_REGISTRY_NAME": f"{self.registry.address}/{PRESETS}",
                },
            ),
            (
                MACHINE_HOOK,
                "kaito_hooks.web.machine:create_machine_app()",
                {
                    "ARM_ENDPOINT": arm,
                    "ARM_SUBSCRIPTION_ID": SUBSCRIPTION,
                    "ARM_RESOURCE_GROUP": "laptop",
                    "AZURE_CLUSTER_NAME": "laptop",
                    "LOCATION": "laptop",
                },
            ),
        ):
            hook = HookProcess(app, settings, logs / f"{name.partition('.')[0]}.log")
            self._ends.append(hook.stop)
            hooks[name] = hook
        return hooks

    def stop(self) -> None:
        """End everything, the last started first."""
        while self._ends:
            self._ends.pop()()

    def docker_config(self) -> str:
        """Return the docker configuration that may push to the registry."""
        token = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        return json.dumps({"auths": {self.registry.address: {"auth": token}}})

    def push_secret(self, name: str, namespace: str) -> Manifest:
        """Return a docker-registry Secret for the registry."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": self.docker_config()},
        }
