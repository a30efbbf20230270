"""Everything of `kaito up` on this computer: registry, ARM, hooks, cluster, kubelet, Services."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kaito_laptop.azure.cluster import SUBSCRIPTION, Behaviour, ManagedCluster
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.server import ArmServer
from kaito_laptop.cli.hook_processes import HookProcess
from kaito_laptop.controllers.control_plane import control_plane
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


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the virtual machines of each Azure size have."""

    gpus: Mapping[str, int]
    memory: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Laptop:
    """A laptop cluster that runs; `event_loop.run` in the thread that started it keeps it going."""

    state: Path
    event_loop: EventLoop
    cluster: MemoryCluster
    registry: Registry
    services: ServiceProxy

    @property
    def password(self) -> str:
        """What `USER` may push to the registry with."""
        return self.registry.storage.users[USER]

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


@contextmanager
def running_laptop(state: Path, event_loop: EventLoop, sizes: Sizes) -> Iterator[Laptop]:
    """Start everything, and end it afterwards, the last started first.

    The children end with the thread that calls this.
    """
    with ExitStack() as stack:
        plane = control_plane(event_loop, secrets.randbits(32))
        cluster = plane.cluster
        users = {USER: secrets.token_urlsafe(16)}
        registry = stack.enter_context(Registry(state / REGISTRY, users, [PRESETS]))
        arm = ManagedCluster(
            event_loop.clock,
            plane.nodes,
            Compute(gpus=sizes.gpus, memory=sizes.memory),
            Behaviour(create_seconds=CREATE_SECONDS, delete_seconds=DELETE_SECONDS),
        )
        server = stack.enter_context(ArmServer(arm, moves_by_itself=True))
        hooks = {
            name: HookProcess(
                app, settings, state / LOGS / "hooks" / f"{name.partition('.')[0]}.log"
            )
            for name, app, settings in _hooks(registry.address, server.url)
        }
        for hook in hooks.values():
            stack.callback(hook.stop)
        services = ServiceProxy(cluster)
        stack.callback(services.stop)
        runtime = ProcessRuntime(cluster, event_loop, state, lambda image: image in IMAGES.values())
        kubelet = Kubelet(cluster, event_loop, runtime)
        stack.callback(kubelet.close)
        stack.callback(NodeLeases(cluster, event_loop).stop)
        for hook in hooks.values():
            hook.wait()
        caller = HttpCaller({name: hook.address for name, hook in hooks.items()})
        stack.callback(Metacontroller(cluster, event_loop, caller).stop)
        for each in controllers():
            cluster.create(each)
        yield Laptop(state, event_loop, cluster, registry, services)


def _hooks(registry: str, arm: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Name, factory and settings of each hook."""
    yield (
        WORKSPACE_HOOK,
        "kaito_hooks.web.workspace:create_workspace_app()",
        {**IMAGES, "PRESET_REGISTRY_NAME": f"{registry}/{PRESETS}"},
    )
    yield (
        MACHINE_HOOK,
        "kaito_hooks.web.machine:create_machine_app()",
        {
            "ARM_ENDPOINT": arm,
            "ARM_SUBSCRIPTION_ID": SUBSCRIPTION,
            "ARM_RESOURCE_GROUP": "laptop",
            "AZURE_CLUSTER_NAME": "laptop",
            "LOCATION": "laptop",
        },
    )
