"""One shape for the clouds behind the providers, so that one contract can be asked of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from kaito_hooks.machine.provider import Provider
from kaito_hooks.providers.aks.provider import AksProvider
from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.providers.karpenter.provider import KarpenterProvider
from kaito_hooks.providers.karpenter.settings import KarpenterSettings
from kaito_laptop.core.clock import Clock, VirtualClock
from kaito_laptop.core.cluster import Cluster, Key, Manifest
from kaito_laptop.store.memory import MemoryCluster

from tests.contract.providers.karpenter import Karpenter
from tests.contract.providers.kube_api import FAULTS, KubeApi, serving
from tests.harness.arm import Fault, ScriptedArmServer, ScriptedCluster
from tests.unit.aks.machine_simulation import GPUS, SETTINGS, NodeList

CRD: Manifest = yaml.safe_load((Path(__file__).parent / "nodeclaim-crd.yaml").read_text())
INSTALL = "test"
NODE_CLASS = {"group": "karpenter.azure.com", "kind": "AKSNodeClass", "name": "default"}


class Cloud(Protocol):
    """What the contract needs beside the provider itself."""

    provider: Provider

    def finish(self) -> None:
        """Let the cloud end whatever it has begun."""

    def add_strangers(self, name: str) -> None:
        """Put a node of someone else there."""

    def touch(self, name: str) -> None:
        """Change what stands for the node, as the cloud itself does at any time."""

    def fail(self, how: str) -> None:
        """Let the next request fail."""


class AksCloud:
    """The ARM stand-in."""

    def __init__(self, arm: ScriptedCluster, url: str, clock: VirtualClock) -> None:
        self._arm, self._clock = arm, clock
        settings = AksSettings(**{**SETTINGS, "arm_endpoint": url})
        self.provider = AksProvider(settings, clock.now)

    def finish(self) -> None:
        self._clock.advance_to(self._clock.seconds() + 600)
        self._arm.advance()

    def add_strangers(self, name: str) -> None:
        self._arm.add_pool(name)

    def touch(self, name: str) -> None:
        self._arm.set_pool(name)

    def fail(self, how: str) -> None:
        fault = {
            "server error": Fault(503, b"{}"),
            "page of a proxy": Fault(404, b"<html>not here</html>"),
            "other kind": Fault(200, b"{}"),
            "no answer": Fault(is_dropped=True),
            "no cluster": Fault(404, b'{"error":{"code":"ResourceNotFound","message":"m"}}'),
            "unauthorized": Fault(401, b'{"error":{"code":"ExpiredToken","message":"m"}}'),
        }[how]
        for verb in ("GET", "LIST", "PUT", "DELETE"):
            self._arm.faults.always(verb, fault)


class ClaimCloud:
    """An API server, in memory or a real one, and a Karpenter that plays in it."""

    def __init__(
        self,
        cluster: Cluster,
        provider: Provider,
        clock: Clock,
        fail: Callable[[str], None],
    ) -> None:
        self.provider = provider
        self.cluster = cluster
        self.karpenter = Karpenter(cluster, clock)
        self._fail = fail

    def finish(self) -> None:
        self.karpenter.work()

    def add_strangers(self, name: str) -> None:
        requirement = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
        spec = {"nodeClassRef": NODE_CLASS, "requirements": [requirement]}
        claim = {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name}}
        self.cluster.create({**claim, "spec": spec})

    def touch(self, name: str) -> None:
        claim = self.cluster.get(Key(self.cluster.resource("karpenter.sh/v1", "NodeClaim"), name))
        claim["metadata"].setdefault("annotations", {})["touched"] = "yes"
        self.cluster.update(claim)

    def fail(self, how: str) -> None:
        self._fail(how)


@contextmanager
def aks() -> Iterator[AksCloud]:
    clock = VirtualClock()
    arm = ScriptedCluster(clock, NodeList(), GPUS)
    with ScriptedArmServer(arm) as server:
        yield AksCloud(arm, server.url, clock)


@contextmanager
def claims_in_memory(**settings: Any) -> Iterator[tuple[ClaimCloud, KubeApi, VirtualClock]]:
    clock = VirtualClock()
    cluster = MemoryCluster(clock)
    cluster.create(CRD)
    api = KubeApi(cluster)

    def fail(how: str) -> None:
        api.faults = [FAULTS[how]] * 9

    with serving(api) as connection:
        provider = KarpenterProvider(claim_settings(**settings), clock.now, connection)
        yield ClaimCloud(cluster, provider, clock, fail), api, clock


@contextmanager
def karpenter() -> Iterator[ClaimCloud]:
    with claims_in_memory() as (cloud, _, _):
        yield cloud


def claim_settings(**changes: str) -> KarpenterSettings:
    found = {f"node_class_{key}": value for key, value in NODE_CLASS.items()}
    return KarpenterSettings(**{"install_id": INSTALL, **found, **changes})
