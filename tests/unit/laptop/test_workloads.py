"""Jobs, Deployments, nodes and endpoints, on virtual time with scripted pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kaito_laptop.core.cluster import Event, Invalid
from kaito_laptop.core.objects import get

from tests.harness.cluster_client import condition_of
from tests.harness.simulation import Simulation


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation() as simulation:
        yield simulation


def template(*names: Any, restart: str = "Always", init: Any = (), **fields: Any) -> Any:
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": {
            "restartPolicy": restart,
            "initContainers": [{"name": each, "image": "x:1"} for each in init],
            "containers": [{"name": each, "image": "x:1", **fields} for each in names or ["main"]],
        },
    }


def job(simulation: Simulation, name: str = "j", init: Any = (), **spec: Any) -> None:
    simulation.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "backoffLimit": 0,
                "template": template(restart="Never", init=init),
                **spec,
            },
        }
    )


def deployment(
    simulation: Simulation,
    replicas: int = 1,
    surge: int | str = 0,
    unavailable: int | str = 1,
    image: str = "x:1",
    probe: bool = True,
    **spec: Any,
) -> None:
    fields: dict[str, Any] = {"readinessProbe": {"httpGet": {"port": 80}}} if probe else {}
    pods = template(**fields)
    pods["spec"]["containers"][0]["image"] = image
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    simulation.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "x"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": pods,
                **spec,
            },
        }
    )


def conditions(simulation: Simulation, kind: str, name: str) -> Any:
    found = get(simulation.get(kind, name), "status", "conditions", default=[])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def images(simulation: Simulation) -> Any:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in simulation.pods("d"))


def start_ready(simulation: Simulation, pod: Any) -> None:
    simulation.kubelet.start(pod)
    simulation.kubelet.ready(pod)


def test_a_pod_does_nothing_until_the_story_says_so(simulation: Simulation) -> None:
    job(simulation)
    simulation.advance(3600)
    assert get(simulation.pod("j"), "status", "phase") == "Pending"
    assert "conditions" not in simulation.get("Job", "j")["status"]


def test_a_job_completes_when_its_pod_succeeds(simulation: Simulation) -> None:
    job(simulation, init=["first", "second"])
    pod = simulation.pod("j")
    simulation.kubelet.start(pod)
    assert simulation.kubelet.running(pod) == ["first"]
    simulation.kubelet.succeed(pod, "first")
    simulation.kubelet.succeed(pod, "second", {"rows": 1})
    assert get(simulation.pod("j"), "status", "phase") == "Running"
    simulation.kubelet.succeed(pod)
    status = simulation.get("Job", "j")["status"]
    assert (status["succeeded"], status["active"]) == (1, 0)
    assert conditions(simulation, "Job", "j") == {
        "SuccessCriteriaMet": ("True", "CompletionsReached"),
        "Complete": ("True", "CompletionsReached"),
    }


def test_a_job_without_retries_fails_with_its_pod(simulation: Simulation) -> None:
    job(simulation)
    pod = simulation.pod("j")
    simulation.kubelet.start(pod)
    simulation.kubelet.fail(pod, exit_code=1, message="no data")
    assert conditions(simulation, "Job", "j") == {
        "FailureTarget": ("True", "BackoffLimitExceeded"),
        "Failed": ("True", "BackoffLimitExceeded"),
    }
    ended = simulation.pod("j")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (1, "no data")


def test_retries_wait_longer_each_time(simulation: Simulation) -> None:
    job(simulation, backoffLimit=2)
    for wait in (10, 20):
        running = next(
            each for each in simulation.pods("j") if each["status"]["phase"] == "Pending"
        )
        simulation.kubelet.start(running)
        simulation.kubelet.fail(running)
        before = len(simulation.pods("j"))
        simulation.advance(wait - 1)
        assert len(simulation.pods("j")) == before
        simulation.advance(1)
        assert len(simulation.pods("j")) == before + 1
    assert simulation.get("Job", "j")["status"]["failed"] == 2


def test_a_disruption_is_no_failure(simulation: Simulation) -> None:
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    job(simulation, podFailurePolicy={"rules": [ignore]})
    first = simulation.pod("j")
    simulation.kubelet.start(first)
    simulation.kubelet.evict(first)
    second = simulation.pod("j")
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert "conditions" not in simulation.get("Job", "j")["status"]


def test_without_a_policy_an_eviction_fails_the_job(simulation: Simulation) -> None:
    job(simulation)
    simulation.kubelet.start(simulation.pod("j"))
    simulation.kubelet.evict(simulation.pod("j"))
    assert conditions(simulation, "Job", "j")["Failed"] == ("True", "BackoffLimitExceeded")


def test_an_exit_code_may_fail_the_job_at_once(simulation: Simulation) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    job(simulation, backoffLimit=6, podFailurePolicy={"rules": [rule]})
    simulation.kubelet.start(simulation.pod("j"))
    simulation.kubelet.fail(simulation.pod("j"), exit_code=42)
    failed = condition_of(simulation.get("Job", "j"), "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in failed["message"]


def test_a_job_that_is_late_ends_with_its_pods(simulation: Simulation) -> None:
    job(simulation, activeDeadlineSeconds=100)
    simulation.kubelet.start(simulation.pod("j"))
    simulation.advance(99)
    assert simulation.pods("j")
    simulation.advance(2)
    assert simulation.pods("j") == []
    assert conditions(simulation, "Job", "j")["Failed"] == ("True", "DeadlineExceeded")


def test_a_node_that_vanishes_disrupts_its_pods(simulation: Simulation) -> None:
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    simulation.add_node("spot", gpus=1)
    pods = template(restart="Never", resources={"limits": {"nvidia.com/gpu": "1"}})
    job(simulation, template=pods, podFailurePolicy={"rules": [ignore]})
    first = simulation.pod("j")
    simulation.kubelet.start(first)
    simulation.remove_node("spot")
    second = simulation.pod("j")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert get(second, "spec", "nodeName") is None


def test_deleting_a_job_deletes_its_pods(simulation: Simulation) -> None:
    job(simulation)
    simulation.kubelet.start(simulation.pod("j"))
    simulation.delete("Job", "j")
    assert simulation.pods() == []


def test_a_deployment_is_available_when_its_pod_is_ready(simulation: Simulation) -> None:
    deployment(simulation, unavailable=0, surge=1)
    pod = simulation.pod("d")
    assert conditions(simulation, "Deployment", "d")["Available"][0] == "False"
    simulation.kubelet.start(pod)
    assert conditions(simulation, "Deployment", "d")["Available"][0] == "False"
    simulation.kubelet.ready(pod)
    assert conditions(simulation, "Deployment", "d") == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    status = simulation.get("Deployment", "d")["status"]
    assert (status["readyReplicas"], status["updatedReplicas"]) == (1, 1)
    assert status["observedGeneration"] == 1
    simulation.kubelet.unready(pod)
    assert "readyReplicas" not in simulation.get("Deployment", "d")["status"]


def test_a_deployment_without_surge_wants_one_pod_at_a_time(simulation: Simulation) -> None:
    deployment(simulation)
    start_ready(simulation, simulation.pod("d"))
    seen = []
    pods = simulation.cluster.resource("v1", "Pod")

    def count(event: Event) -> None:
        found = simulation.cluster.list(pods)
        seen.append(sum("deletionTimestamp" not in pod["metadata"] for pod in found))

    simulation.cluster.watch([pods], count)
    deployment(simulation, image="x:2")
    assert max(seen) == 1
    assert images(simulation) == ["x:2"]


def test_a_deployment_with_surge_keeps_the_old_pod_until_the_new_one_is_ready(
    simulation: Simulation,
) -> None:
    deployment(simulation, surge=1, unavailable=0)
    start_ready(simulation, simulation.pod("d"))
    deployment(simulation, surge=1, unavailable=0, image="x:2")
    assert images(simulation) == ["x:1", "x:2"]
    new = next(
        pod
        for pod in simulation.pods("d")
        if images(simulation) and pod["status"]["phase"] == "Pending"
    )
    start_ready(simulation, new)
    assert images(simulation) == ["x:2"]
    revision = simulation.get("Deployment", "d")["metadata"]["annotations"]
    assert revision["deployment.kubernetes.io/revision"] == "2"


def test_a_rollout_respects_shares_of_many_replicas(simulation: Simulation) -> None:
    deployment(simulation, replicas=4, surge="25%", unavailable="25%")
    for pod in simulation.pods("d"):
        start_ready(simulation, pod)
    deployment(simulation, replicas=4, surge="25%", unavailable="25%", image="x:2")
    ready = [pod for pod in simulation.pods("d") if condition_of(pod, "Ready")["status"] == "True"]
    assert len(ready) == 3
    assert len(simulation.pods("d")) == 5


def test_a_deployment_scales_to_nothing_and_back(simulation: Simulation) -> None:
    deployment(simulation)
    start_ready(simulation, simulation.pod("d"))
    deployment(simulation, replicas=0)
    assert simulation.pods("d") == []
    assert conditions(simulation, "Deployment", "d")["Available"][0] == "True"
    deployment(simulation)
    assert len(simulation.pods("d")) == 1


def test_a_rollout_that_does_not_move_is_told_after_its_deadline(simulation: Simulation) -> None:
    deployment(simulation, progressDeadlineSeconds=60, surge=1, unavailable=0)
    simulation.advance(59)
    assert conditions(simulation, "Deployment", "d")["Progressing"] == ("True", "ReplicaSetUpdated")
    simulation.advance(2)
    assert conditions(simulation, "Deployment", "d")["Progressing"] == (
        "False",
        "ProgressDeadlineExceeded",
    )
    start_ready(simulation, simulation.pod("d"))
    assert conditions(simulation, "Deployment", "d")["Progressing"][0] == "True"


def test_an_evicted_pod_is_replaced(simulation: Simulation) -> None:
    deployment(simulation)
    first = simulation.pod("d")
    start_ready(simulation, first)
    simulation.kubelet.evict(first)
    assert simulation.pod("d")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_container_that_fails_is_restarted_in_place(simulation: Simulation) -> None:
    deployment(simulation)
    pod = simulation.pod("d")
    start_ready(simulation, pod)
    simulation.kubelet.fail(pod, exit_code=137, reason="OOMKilled")
    status = simulation.pod("d")["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["lastState"]["terminated"]["reason"]) == (1, "OOMKilled")
    simulation.kubelet.fail(pod)
    waiting = simulation.pod("d")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    simulation.advance(11)
    assert simulation.kubelet.running(pod) == ["main"]


def test_an_image_that_cannot_be_pulled_is_tried_again(simulation: Simulation) -> None:
    deployment(simulation)
    pod = simulation.pod("d")

    def state() -> Any:
        return simulation.pod("d")["status"]["containerStatuses"][0]["state"]

    simulation.kubelet.refuse_image(pod, "manifest unknown")
    assert state()["waiting"] == {"reason": "ErrImagePull", "message": "manifest unknown"}
    simulation.advance(2)
    assert state()["waiting"]["reason"] == "ImagePullBackOff"
    simulation.kubelet.allow_image(pod)
    simulation.advance(30)
    assert simulation.kubelet.running(pod) == ["main"]


def service(simulation: Simulation, **spec: Any) -> None:
    simulation.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "svc"},
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": 5000}], **spec},
        }
    )


def endpoints(simulation: Simulation) -> Any:
    return [
        (each["ports"][0]["port"], each["endpoints"][0]["conditions"]["ready"])
        for each in simulation.list("EndpointSlice")
    ]


def test_a_service_leads_to_pods_while_they_are_ready(simulation: Simulation) -> None:
    service(simulation)
    deployment(simulation)
    pod = simulation.pod("d")
    assert endpoints(simulation) == []
    simulation.kubelet.start(pod)
    assert endpoints(simulation) == [(5000, False)]
    simulation.kubelet.ready(pod)
    assert endpoints(simulation) == [(5000, True)]
    deployment(simulation, replicas=0)
    assert endpoints(simulation) == []


def test_a_service_may_publish_pods_before_they_are_ready(simulation: Simulation) -> None:
    service(simulation, publishNotReadyAddresses=True)
    deployment(simulation)
    simulation.kubelet.start(simulation.pod("d"))
    assert endpoints(simulation) == [(5000, True)]


def test_a_pod_whose_secret_is_missing_starts_when_it_appears(simulation: Simulation) -> None:
    pods = template(restart="Never")
    pods["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "late"}}]
    job(simulation, template=pods)
    pod = simulation.pod("j")
    simulation.kubelet.start(pod)
    assert simulation.kubelet.running(pod) == []
    assert (
        'secret "late" not found'
        in simulation.events(pod["metadata"]["name"], "FailedMount")[0]["message"]
    )
    simulation.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}})
    assert simulation.kubelet.running(pod) == ["main"]


def test_deleting_a_namespace_deletes_what_is_in_it(simulation: Simulation) -> None:
    simulation.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    simulation.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "team"}}
    )
    simulation.delete("Namespace", "team", "")
    assert simulation.find("Namespace", "team", "") is None
    assert simulation.list("Secret", namespace="team") == []


def test_deleting_a_definition_deletes_its_objects(simulation: Simulation) -> None:
    simulation.apply(
        "{apiVersion: kaito.sh/v1alpha1, kind: Workspace, metadata: {name: w}, "
        "resource: {labelSelector: {}}, inference: {preset: {name: x}}}"
    )
    simulation.delete("CustomResourceDefinition", "workspaces.kaito.sh", "")
    assert simulation.find("CustomResourceDefinition", "workspaces.kaito.sh", "") is None
    with pytest.raises(Exception, match="no kind"):
        simulation.list("Workspace")


def test_the_story_is_told_when_it_asks_for_something_impossible(simulation: Simulation) -> None:
    job(simulation, init=["first"])
    pod = simulation.pod("j")
    with pytest.raises(AssertionError, match="call start"):
        simulation.kubelet.succeed(pod)
    simulation.kubelet.start(pod)
    with pytest.raises(AssertionError, match="main does not run"):
        simulation.kubelet.succeed(pod, "main")
    with pytest.raises(KeyError, match="it has first, main"):
        simulation.kubelet.succeed(pod, "pusher")
    with pytest.raises(ValueError, match="use succeed"):
        simulation.kubelet.fail(pod, exit_code=0)


def test_what_is_left_behind_is_named(simulation: Simulation) -> None:
    job(simulation)
    with pytest.raises(AssertionError, match="left behind: Pod default/j-"):
        simulation.assert_nothing_remains()
    simulation.delete("Job", "j")
    simulation.assert_nothing_remains()


def test_apply_is_refused_in_the_words_of_the_api_server(simulation: Simulation) -> None:
    with pytest.raises(Invalid, match="exactly one of `inference` and `tuning`"):
        simulation.apply(
            "{apiVersion: kaito.sh/v1alpha1, kind: Workspace, metadata: {name: w}, "
            "resource: {labelSelector: {}}}"
        )
