"""The real API server and the store in memory refuse and accept the same, in the same words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import Invalid, Key
from kaito_laptop.core.package_data import definitions
from kaito_laptop.store.memory import MemoryCluster

from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.install import ROOT, kubectl
from tests.harness.api_server import ApiServer
from tests.harness.builders import inference_workspace, merged
from tests.harness.story import OURS
from tests.harness.workspace_cel import ALLOWED, REFUSED
from tests.harness.workspace_rules import ACCEPTED, Row, openapi_rows

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.fixture(scope="module")
def server(plane: ControlPlane, proxy: HookProxy) -> Iterator[ApiServer]:
    server = ApiServer(plane.kubeconfig, lambda act: act())
    yield server
    server.close()


@pytest.fixture(scope="module")
def memory() -> MemoryCluster:
    cluster = MemoryCluster(VirtualClock())
    for definition in definitions():
        cluster.create(definition)
    return cluster


@pytest.mark.parametrize("row", [*openapi_rows(), *REFUSED, *ALLOWED], ids=lambda row: row.name)
def test_both_say_the_same(server: ApiServer, memory: MemoryCluster, row: Row) -> None:
    outcome = row.outcome(server, "default")
    assert (row.says or ACCEPTED) in outcome
    assert outcome == row.outcome(memory, "default")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted(plane: ControlPlane, server: ApiServer, path: object) -> None:
    kubectl(plane, "apply", "--dry-run=server", "-f", str(path))


def test_an_update_without_the_version_that_was_read_is_refused_alike(
    server: ApiServer, memory: MemoryCluster
) -> None:
    said = set()
    for cluster in (server, memory):
        made = cluster.create(
            merged(merged(inference_workspace(), OURS), {"metadata": {"namespace": "default"}})
        )
        try:
            del made["metadata"]["resourceVersion"]
            with pytest.raises(Invalid) as caught:
                cluster.update(made)
            said.add(caught.value.message)
        finally:
            cluster.delete(
                Key(
                    cluster.resource("kaito.sh/v1alpha1", "Workspace"),
                    made["metadata"]["name"],
                    "default",
                )
            )
    assert len(said) == 1, said
