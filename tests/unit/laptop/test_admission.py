"""Pods that admission refuses: in which words, and what their Jobs and Deployments say and do then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_laptop.controllers.control_plane import control_plane
from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import Forbidden, Invalid
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import condition, get, name

from tests.harness.admission_rows import ROWS, container, full, limit_range, pod, quota
from tests.harness.cluster_client import condition_of
from tests.harness.simulation import Simulation


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation() as simulation:
        yield simulation


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_words_are_those_of_the_api_server(row: Any) -> None:
    plane = control_plane(EventLoop(VirtualClock()))
    assert row.outcome(
        plane.cluster, "default", lambda holds: _holds(plane.event_loop, holds)
    ).endswith(row.says)


def _holds(event_loop: EventLoop, holds: Any) -> None:
    event_loop.settle()
    assert holds()


def used(simulation: Simulation) -> Any:
    return get(simulation.get("ResourceQuota", "q"), "status", "used")


def template(restart: str = "Always", **resources: Any) -> Any:
    spec = pod(containers=[container("base", **resources)])["spec"]
    return {"metadata": {"labels": {"app": "x"}}, "spec": {**spec, "restartPolicy": restart}}


def deployment(simulation: Simulation, replicas: int = 1, **resources: Any) -> None:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "x"}},
        "template": template(**resources),
    }
    simulation.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    )


def job(simulation: Simulation, **resources: Any) -> None:
    spec = {"backoffLimit": 0, "template": template("Never", **resources)}
    simulation.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    )


SMALL = {"limits": {"memory": "1Gi"}}


def test_a_deployment_whose_pod_is_refused_says_so_until_the_quota_goes(
    simulation: Simulation,
) -> None:
    simulation.apply(quota(limits_memory="32Gi"))
    deployment(simulation)
    failure = condition_of(simulation.get("Deployment", "d"), "ReplicaFailure")
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert failure["message"].startswith('pods "d-')
    assert failure["message"].endswith(
        "is forbidden: failed quota: q: must specify limits.memory for: base"
    )
    assert simulation.events("d", "FailedCreate")[0]["message"].startswith(
        'Error creating: pods "d-'
    )
    assert simulation.pods("d") == []
    simulation.advance(3600)
    assert condition_of(simulation.get("Deployment", "d"), "ReplicaFailure") == failure
    simulation.delete("ResourceQuota", "q")
    simulation.run_until(lambda: bool(simulation.pods("d")))
    simulation.settle()
    assert condition(simulation.get("Deployment", "d"), "ReplicaFailure") is None


def test_a_quota_that_is_raised_lets_the_rest_of_the_pods_in(simulation: Simulation) -> None:
    simulation.apply(quota(limits_memory="2Gi"))
    deployment(simulation, replicas=3, **SMALL)
    assert len(simulation.pods("d")) == 2
    assert used(simulation) == {"limits.memory": "2Gi"}
    assert (
        "used: limits.memory=2Gi, limited: limits.memory=2Gi"
        in (condition_of(simulation.get("Deployment", "d"), "ReplicaFailure")["message"])
    )
    simulation.apply(quota(limits_memory="4Gi"))
    simulation.run_until(lambda: len(simulation.pods("d")) == 3)
    simulation.settle()
    assert condition(simulation.get("Deployment", "d"), "ReplicaFailure") is None
    assert used(simulation) == {"limits.memory": "3Gi"}


def test_a_job_whose_pod_is_refused_has_an_event_and_no_pod(simulation: Simulation) -> None:
    simulation.apply(quota(limits_memory="512Mi"))
    job(simulation, **SMALL)
    words = "exceeded quota: q, requested: limits.memory=1Gi, used: limits.memory=0, limited: limits.memory=512Mi"
    event = simulation.events("j", "FailedCreate")[0]
    assert (event["type"], event["involvedObject"]["kind"]) == ("Warning", "Job")
    assert event["message"].startswith('Error creating: pods "j-')
    assert event["message"].endswith(f"is forbidden: {words}")
    status = simulation.get("Job", "j")["status"]
    assert (status["active"], status["failed"]) == (0, 0)
    assert "conditions" not in status
    simulation.apply(quota(limits_memory="1Gi"))
    simulation.run_until(lambda: bool(simulation.pods("j")), within=61)


def test_refusals_are_tried_again_later_and_later(simulation: Simulation) -> None:
    simulation.apply(quota(pods="0"))
    job(simulation)
    deployment(simulation)
    simulation.advance(600)
    tries = [len(simulation.events(each, "FailedCreate")) for each in ("j", "d")]
    assert all(8 <= each <= 40 for each in tries), tries


def test_a_pod_that_ends_makes_room(simulation: Simulation) -> None:
    simulation.apply(quota(pods="1", count_pods="2"))
    job(simulation)
    first = simulation.pod("j")
    assert used(simulation) == {"count/pods": "1", "pods": "1"}
    with pytest.raises(Forbidden, match="exceeded quota: q, requested: pods=1"):
        simulation.cluster.create(pod())
    simulation.kubelet.start(first)
    simulation.kubelet.succeed(first)
    assert used(simulation) == {"count/pods": "1", "pods": "0"}
    simulation.cluster.create(pod())
    simulation.settle()
    assert used(simulation) == {"count/pods": "2", "pods": "1"}
    simulation.delete("Pod", name(first))
    simulation.run_until(lambda: used(simulation) == {"count/pods": "1", "pods": "1"})


def test_a_quota_counts_the_pods_that_were_there_before_it(simulation: Simulation) -> None:
    simulation.cluster.create(pod(containers=[full()]))
    simulation.apply(quota(requests_cpu="8", gpu="4"))
    assert used(simulation) == {"requests.cpu": "1", "requests.nvidia.com/gpu": "0"}
    assert get(simulation.get("ResourceQuota", "q"), "status", "hard") == {
        "requests.cpu": "8",
        "requests.nvidia.com/gpu": "4",
    }


def test_each_namespace_has_its_own(simulation: Simulation) -> None:
    simulation.cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}
    )
    simulation.apply(quota(pods="0"))
    elsewhere = pod()
    elsewhere["metadata"]["namespace"] = "other"
    simulation.cluster.create(elsewhere)


def test_a_limit_range_leaves_a_note_of_what_it_filled_in(simulation: Simulation) -> None:
    simulation.apply(limit_range(default={"memory": "512Mi", "cpu": "1"}))
    made = simulation.cluster.create(pod(init=[container("weights", limits={"cpu": "2"})]))
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container base; "
        "cpu, memory limit for container base; memory request for init container weights; "
        "memory limit for init container weights"
    }


@pytest.mark.parametrize(
    "scopes", [{"scopes": ["BestEffort"]}, {"scopeSelector": {"matchExpressions": [{}]}}]
)
def test_a_quota_with_scopes_is_refused_rather_than_misread(
    simulation: Simulation, scopes: Any
) -> None:
    scoped = quota(pods="1")
    scoped["spec"] |= scopes
    with pytest.raises(Invalid, match="a quota counts all pods here; leave the scopes out"):
        simulation.cluster.create(scoped)


@given(
    hard=st.integers(0, 8),
    steps=st.lists(
        st.tuples(st.sampled_from(["make", "end", "delete"]), st.integers(1, 4)), max_size=12
    ),
)
@settings(max_examples=60, deadline=None)
def test_the_count_never_exceeds_the_quota_and_is_that_of_the_pods(hard: Any, steps: Any) -> None:
    with Simulation() as simulation:
        simulation.apply(quota(limits_memory=f"{hard}Gi"))
        made = []
        for number, (what, size) in enumerate(steps):
            if what == "make":
                wanted = pod(f"p{number}", containers=[full(memory=f"{size}Gi")])
                try:
                    made.append(simulation.cluster.create(wanted))
                except Forbidden:
                    there = sum(
                        int(
                            get(each, "spec", "containers")[0]["resources"]["limits"]["memory"][:-2]
                        )
                        for each in made
                    )
                    assert there + size > hard
            elif made:
                gone = made.pop(0)
                if what == "delete":
                    simulation.delete("Pod", name(gone))
                else:
                    simulation.kubelet.start(gone)
                    simulation.kubelet.succeed(gone)
            simulation.advance(60)
            there = sum(
                int(get(each, "spec", "containers")[0]["resources"]["limits"]["memory"][:-2])
                for each in made
            )
            assert used(simulation) == {"limits.memory": f"{there}Gi" if there else "0"}
            assert there <= hard
