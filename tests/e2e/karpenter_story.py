"""Karpenter's kind on a real API server, its part played by the test, and the node provisioner with its own rights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from kubernetes import client as kube
from kubernetes.config import new_client_from_config

from kaito_hooks.providers.karpenter.client import connect
from kaito_hooks.providers.karpenter.provider import KarpenterProvider
from kaito_hooks.web.machine import create_machine_app
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import Cluster, Key
from kaito_laptop.core.objects import name
from kaito_laptop.core.package_data import MACHINE_HOOK, WORKSPACE_HOOK

from tests.contract.providers.clouds import ClaimCloud, claim_settings
from tests.contract.providers.karpenter import Karpenter
from tests.contract.providers.kube_api import FAULTS, KubeApi, serving
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.install import ROOT, kubectl
from tests.e2e.real_story import Loop, RealStory
from tests.harness.api_server import ApiServer
from tests.harness.story import workspace_app

CRD = ROOT / "tests/contract/providers/nodeclaim-crd.yaml"
COMPONENT = ROOT / "manifests/components/karpenter"
ACCOUNT, NAMESPACE = "node-provisioner", "kaito-system"
NODE_CLAIM = ("karpenter.sh/v1", "NodeClaim")


def install_karpenter(plane: ControlPlane) -> str:
    """Install its kind and the component's rights; return a token of the node provisioner."""
    kubectl(plane, "apply", "-f", CRD)
    kubectl(plane, "wait", "--for=condition=Established", "-f", CRD)
    kubectl(plane, "apply", "-f", COMPONENT / "rbac.yaml")
    return kubectl(plane, "create", "token", ACCOUNT, "-n", NAMESPACE).strip()


def remove_karpenter(plane: ControlPlane) -> None:
    """Take both away again."""
    kubectl(plane, "delete", "-f", COMPONENT / "rbac.yaml", "-f", CRD)


@contextmanager
def connection(plane: ControlPlane, token: str) -> Iterator[kube.ApiClient]:
    """The client as the provider builds it in its pod: this account's token and the cluster's CA."""
    admin = new_client_from_config(str(plane.kubeconfig))  # type: ignore[no-untyped-call]
    configuration = kube.Configuration()
    configuration.host = admin.configuration.host
    configuration.ssl_ca_cert = admin.configuration.ssl_ca_cert
    configuration.api_key = {"authorization": f"Bearer {token}"}
    with connect(configuration) as found:
        yield found


@contextmanager
def real_cloud(plane: ControlPlane, token: str) -> Iterator[ClaimCloud]:
    """What the contract asks of; it leaves no NodeClaim and no Node of one."""
    clock = RealClock()
    server = ApiServer(plane.kubeconfig, lambda act: act())
    with ExitStack() as stack:
        stack.callback(server.close)
        way = stack.enter_context(connection(plane, token))
        provider = KarpenterProvider(claim_settings(), clock.now, way)

        def fail(how: str) -> None:
            """In its place something else answers, or the API server itself refuses."""
            if how == "unauthorized":
                way.configuration.api_key = {"authorization": "Bearer wrong"}
                return
            broken = KubeApi(None)  # type: ignore[arg-type]
            broken.faults = [FAULTS[how]] * 9
            other = stack.enter_context(serving(broken))
            way.configuration.host = other.configuration.host

        stack.callback(remove_claims, server)
        yield ClaimCloud(server, provider, clock, fail)


def remove_claims(cluster: Cluster) -> None:
    """Delete all NodeClaims with their nodes."""
    for claim in cluster.list(cluster.resource(*NODE_CLAIM)):
        cluster.delete(Key(cluster.resource(*NODE_CLAIM), name(claim)))
    Karpenter(cluster, RealClock()).work()


class ClaimStory(RealStory):
    """A story in which Karpenter makes the nodes."""

    karpenter: PlayedKarpenter

    def pools(self) -> list[str]:
        return [name(each) for each in self.cluster.list(self.cluster.resource(*NODE_CLAIM))]


class PlayedKarpenter(Karpenter):
    """In the place of Azure: works when the story is at rest."""

    advance = Karpenter.work


@contextmanager
def claim_story(
    plane: ControlPlane, proxy: HookProxy, token: str, loop: Callable[[RealStory], Loop]
) -> Iterator[ClaimStory]:
    """A story on a real control plane with both hooks and no Azure at all."""
    story = ClaimStory(plane, proxy, loop)
    karpenter: Any = PlayedKarpenter(story.cluster, story.clock)
    story.arm = karpenter
    story.karpenter = karpenter
    with connection(plane, token) as way:
        provider = KarpenterProvider(claim_settings(), story.clock.now, way)
        app = create_machine_app(provider, story.clock.now, log_stream=story.log)
        story.serve(MACHINE_HOOK, app)
        story.serve(WORKSPACE_HOOK, workspace_app(story.clock, story.log))
        with story:
            yield story
