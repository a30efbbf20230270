"""Which node takes a pod, and what `kubectl describe pod` says when none does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kaito_laptop.controllers.cluster_nodes import ready_node
from kaito_laptop.controllers.scheduler import obstacles, requests
from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import get
from kaito_laptop.core.quantities import Quantity

from tests.harness.cluster_client import condition_of
from tests.harness.simulation import Simulation

GPU = "nvidia.com/gpu"


def node(**fields: Any) -> Any:
    resources = {GPU: "1", **fields.pop("resources", {})}
    return ready_node("n", EventLoop(VirtualClock()), resources=resources, **fields)


def pod(asked: Any = None, **spec: Any) -> Any:
    container = {"name": "main", "image": "x:1", "resources": {"requests": asked or {}}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}


def affinity(*expressions: Any) -> Any:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


TAINT = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
CASES = {
    "it fits": (pod({GPU: "1"}), node(), []),
    "too many GPUs": (pod({GPU: "2"}), node(), [f"Insufficient {GPU}"]),
    "too much memory and cpu": (
        pod({"memory": "64Gi", "cpu": "9"}),
        node(),
        ["Insufficient cpu", "Insufficient memory"],
    ),
    "a taint": (pod(), node(taints=[TAINT]), ["node(s) had untolerated taint(s) {sku: gpu}"]),
    "a taint that is tolerated by value": (
        pod(tolerations=[{**TAINT, "operator": "Equal"}]),
        node(taints=[TAINT]),
        [],
    ),
    "a taint that is tolerated by key": (
        pod(tolerations=[{"key": "sku", "operator": "Exists"}]),
        node(taints=[TAINT]),
        [],
    ),
    "a taint of another value": (
        pod(tolerations=[{**TAINT, "value": "cpu"}]),
        node(taints=[TAINT]),
        ["node(s) had untolerated taint(s) {sku: gpu}"],
    ),
    "a preference is no obstacle": (
        pod(),
        node(taints=[{**TAINT, "effect": "PreferNoSchedule"}]),
        [],
    ),
    "another node is selected": (
        pod(nodeSelector={"pool": "a"}),
        node(labels={"pool": "b"}),
        ["node(s) didn't match Pod's node affinity/selector"],
    ),
    "the affinity holds": (
        pod(affinity=affinity({"key": "pool", "operator": "In", "values": ["a", "b"]})),
        node(labels={"pool": "b"}),
        [],
    ),
    "the affinity does not hold": (
        pod(affinity=affinity({"key": "pool", "operator": "DoesNotExist"})),
        node(labels={"pool": "b"}),
        ["node(s) didn't match Pod's node affinity/selector"],
    ),
    "a term without expressions matches nothing": (
        pod(affinity=affinity()),
        node(),
        ["node(s) didn't match Pod's node affinity/selector"],
    ),
}


@pytest.mark.parametrize(("wanted", "there", "found"), CASES.values(), ids=CASES)
def test_obstacles(wanted: Any, there: Any, found: Any) -> None:
    assert obstacles(wanted, there, {}) == found


def test_what_is_used_by_others_is_not_there() -> None:
    assert obstacles(pod({GPU: "1"}), node(), {GPU: Quantity.of(1)}) == [f"Insufficient {GPU}"]


def test_init_containers_count_by_the_largest_of_them() -> None:
    wanted = pod({GPU: "1", "cpu": "1"})
    wanted["spec"]["initContainers"] = [
        {"name": "a", "resources": {"requests": {"cpu": "3"}}},
        {"name": "b", "resources": {"requests": {"cpu": "2", GPU: "1"}}},
    ]
    found = {resource: str(amount) for resource, amount in requests(wanted).items()}
    assert found == {GPU: "1", "cpu": "3", "pods": "1"}


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation() as simulation:
        yield simulation


def apply_pod(simulation: Simulation, name: str, asked: Any = None) -> None:
    wanted = pod(asked, restartPolicy="Never")
    simulation.apply({"apiVersion": "v1", "kind": "Pod", **wanted, "metadata": {"name": name}})


def place(simulation: Simulation, name: str) -> Any:
    return get(simulation.get("Pod", name), "spec", "nodeName")


def test_a_pod_that_fits_nowhere_says_why_and_is_bound_when_a_node_comes(
    simulation: Simulation,
) -> None:
    apply_pod(simulation, "p", {GPU: "1"})
    scheduled = condition_of(simulation.get("Pod", "p"), "PodScheduled")
    assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")
    assert scheduled["message"] == f"0/1 nodes are available: 1 Insufficient {GPU}."
    assert simulation.events("p", "FailedScheduling")
    simulation.add_node("gpu", gpus=1)
    assert place(simulation, "p") == "gpu"


def test_one_gpu_is_given_once_and_again_when_it_is_free(simulation: Simulation) -> None:
    simulation.add_node("gpu", gpus=1)
    apply_pod(simulation, "first", {GPU: "1"})
    apply_pod(simulation, "second", {GPU: "1"})
    assert (place(simulation, "first"), place(simulation, "second")) == ("gpu", None)
    simulation.kubelet.start("first")
    simulation.kubelet.succeed("first")
    assert place(simulation, "second") == "gpu"


def test_a_pod_without_gpu_leaves_the_gpu_node_to_others(simulation: Simulation) -> None:
    simulation.add_node("a-gpu-node", gpus=1)
    apply_pod(simulation, "p")
    assert place(simulation, "p") == "laptop"
