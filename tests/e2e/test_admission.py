"""Quotas and LimitRanges: the real API server and the cluster in memory answer pods in the same words."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from kaito_laptop.controllers.control_plane import control_plane
from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import ClusterError, Key
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import condition, get, name

from tests.e2e.control_plane import ControlPlane
from tests.harness.admission_rows import ROWS, Manifest, Row, container, pod, quota
from tests.harness.api_server import ApiServer

WITHIN_SECONDS = 30


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> Iterator[ApiServer]:
    server = ApiServer(plane.kubeconfig, lambda act: act())
    yield server
    server.close()


@pytest.fixture
def place(server: ApiServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of its own, in which pods can be made."""
    made = f"admission-{zlib.crc32(request.node.name.encode())}"
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made}})
    account = Key(server.resource("v1", "ServiceAccount"), "default", made)
    soon(lambda: server.get(account) is not None)
    yield made
    server.delete(Key(server.resource("v1", "Namespace"), made))


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < end:
        with suppress(ClusterError):
            if holds():
                return
        time.sleep(0.05)
    raise AssertionError(f"it did not hold within {WITHIN_SECONDS} s")


def in_memory(row: Row) -> str:
    plane = control_plane(EventLoop(VirtualClock()))

    def settled(holds: Callable[[], bool]) -> None:
        plane.event_loop.settle()
        assert holds()

    return row.outcome(plane.cluster, "default", settled)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_say_the_same(server: ApiServer, place: str, row: Row) -> None:
    outcome = row.outcome(server, place, soon)
    assert outcome.endswith(row.says)
    assert outcome == in_memory(row)


def workloads(place: str) -> list[Manifest]:
    spec = pod(containers=[container("base")])["spec"]
    labels = {"app": "x"}

    def template(restart: str) -> Manifest:
        return {"metadata": {"labels": labels}, "spec": {**spec, "restartPolicy": restart}}

    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": place},
            "spec": {"selector": {"matchLabels": labels}, "template": template("Always")},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j", "namespace": place},
            "spec": {"template": template("Never")},
        },
    ]


def test_deployments_and_jobs_pass_the_words_on(server: ApiServer, place: str) -> None:
    """As tests/unit/laptop/test_admission.py has it of the cluster in memory."""
    limit = quota(limits_memory="32Gi")
    server.create({**limit, "metadata": {**limit["metadata"], "namespace": place}})
    key = Key(server.resource("v1", "ResourceQuota"), "q", place)
    soon(lambda: get(server.get(key), "status", "hard") is not None)
    for each in workloads(place):
        server.create(each)
    deployment = Key(server.resource("apps/v1", "Deployment"), "d", place)
    words = "is forbidden: failed quota: q: must specify limits.memory for: base"
    soon(lambda: condition(server.get(deployment), "ReplicaFailure") is not None)
    failure = condition(server.get(deployment), "ReplicaFailure")
    assert failure is not None
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert failure["message"].startswith('pods "d-')
    assert failure["message"].endswith(words)

    def told() -> list[Manifest]:
        events = server.list(server.resource("v1", "Event"), place)
        return [
            e for e in events if e["involvedObject"]["kind"] == "Job" and e["type"] == "Warning"
        ]

    soon(lambda: bool(told()))
    assert told()[0]["reason"] == "FailedCreate"
    assert told()[0]["message"].startswith('Error creating: pods "j-')
    assert told()[0]["message"].endswith(words)
    job = server.get(Key(server.resource("batch/v1", "Job"), "j", place))
    assert get(job, "status", "active", default=0) == 0
    assert [name(each) for each in server.list(server.resource("v1", "Pod"), place)] == []
    server.delete(key)
    soon(lambda: len(server.list(server.resource("v1", "Pod"), place)) == 2)
    soon(lambda: condition(server.get(deployment), "ReplicaFailure") is None)
