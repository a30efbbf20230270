"""Jobs, Deployments, StatefulSets, nodes and endpoints, on virtual time with scripted pods."""

import pytest

from kaito_laptop.core.cluster import Invalid
from kaito_laptop.core.objects import condition, get

from tests.harness.simulation import World


@pytest.fixture
def world():
    with World() as world:
        yield world


def template(*names, restart="Always", init=(), **fields):
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": {
            "restartPolicy": restart,
            "initContainers": [{"name": each, "image": "x:1"} for each in init],
            "containers": [{"name": each, "image": "x:1", **fields} for each in names or ["main"]],
        },
    }


def job(world, name="j", init=(), **spec) -> None:
    world.apply(
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


def deployment(world, replicas=1, surge=0, unavailable=1, image="x:1", probe=True, **spec) -> None:
    fields = {"readinessProbe": {"httpGet": {"port": 80}}} if probe else {}
    pods = template(**fields)
    pods["spec"]["containers"][0]["image"] = image
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    world.apply(
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


def conditions(world, kind, name):
    found = get(world.get(kind, name), "status", "conditions", default=[])
    return {each["type"]: (each["status"], each["reason"]) for each in found}


def images(world):
    return sorted(pod["spec"]["containers"][0]["image"] for pod in world.pods("d"))


def start_ready(world, pod) -> None:
    world.kubelet.start(pod)
    world.kubelet.ready(pod)


def test_a_pod_does_nothing_until_the_story_says_so(world) -> None:
    job(world)
    world.advance(3600)
    assert get(world.pod("j"), "status", "phase") == "Pending"
    assert "conditions" not in world.get("Job", "j")["status"]


def test_a_job_completes_when_its_pod_succeeds(world) -> None:
    job(world, init=["first", "second"])
    pod = world.pod("j")
    world.kubelet.start(pod)
    assert world.kubelet.running(pod) == ["first"]
    world.kubelet.succeed(pod, "first")
    world.kubelet.succeed(pod, "second", {"rows": 1})
    assert get(world.pod("j"), "status", "phase") == "Running"
    world.kubelet.succeed(pod)
    status = world.get("Job", "j")["status"]
    assert (status["succeeded"], status["active"]) == (1, 0)
    assert conditions(world, "Job", "j") == {
        "SuccessCriteriaMet": ("True", "CompletionsReached"),
        "Complete": ("True", "CompletionsReached"),
    }


def test_a_job_without_retries_fails_with_its_pod(world) -> None:
    job(world)
    pod = world.pod("j")
    world.kubelet.start(pod)
    world.kubelet.fail(pod, exit_code=1, message="no data")
    assert conditions(world, "Job", "j") == {
        "FailureTarget": ("True", "BackoffLimitExceeded"),
        "Failed": ("True", "BackoffLimitExceeded"),
    }
    ended = world.pod("j")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (1, "no data")


def test_retries_wait_longer_each_time(world) -> None:
    job(world, backoffLimit=2)
    for wait in (10, 20):
        running = next(each for each in world.pods("j") if each["status"]["phase"] == "Pending")
        world.kubelet.start(running)
        world.kubelet.fail(running)
        before = len(world.pods("j"))
        world.advance(wait - 1)
        assert len(world.pods("j")) == before
        world.advance(1)
        assert len(world.pods("j")) == before + 1
    assert world.get("Job", "j")["status"]["failed"] == 2


def test_a_disruption_is_no_failure(world) -> None:
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    job(world, podFailurePolicy={"rules": [ignore]})
    first = world.pod("j")
    world.kubelet.start(first)
    world.kubelet.evict(first)
    second = world.pod("j")
    assert second["metadata"]["name"] != first["metadata"]["name"]
    assert "conditions" not in world.get("Job", "j")["status"]


def test_without_a_policy_an_eviction_fails_the_job(world) -> None:
    job(world)
    world.kubelet.start(world.pod("j"))
    world.kubelet.evict(world.pod("j"))
    assert conditions(world, "Job", "j")["Failed"] == ("True", "BackoffLimitExceeded")


def test_an_exit_code_may_fail_the_job_at_once(world) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    job(world, backoffLimit=6, podFailurePolicy={"rules": [rule]})
    world.kubelet.start(world.pod("j"))
    world.kubelet.fail(world.pod("j"), exit_code=42)
    failed = condition(world.get("Job", "j"), "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in failed["message"]


def test_a_job_that_is_late_ends_with_its_pods(world) -> None:
    job(world, activeDeadlineSeconds=100)
    world.kubelet.start(world.pod("j"))
    world.advance(99)
    assert world.pods("j")
    world.advance(2)
    assert world.pods("j") == []
    assert conditions(world, "Job", "j")["Failed"] == ("True", "DeadlineExceeded")


def test_a_node_that_vanishes_disrupts_its_pods(world) -> None:
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    world.add_node("spot", gpus=1)
    pods = template(restart="Never", resources={"limits": {"nvidia.com/gpu": "1"}})
    job(world, template=pods, podFailurePolicy={"rules": [ignore]})
    first = world.pod("j")
    world.kubelet.start(first)
    world.remove_node("spot")
    second = world.pod("j")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert get(second, "spec", "nodeName") is None


def test_deleting_a_job_deletes_its_pods(world) -> None:
    job(world)
    world.kubelet.start(world.pod("j"))
    world.delete("Job", "j")
    assert world.pods() == []


def test_a_deployment_is_available_when_its_pod_is_ready(world) -> None:
    deployment(world, unavailable=0, surge=1)
    pod = world.pod("d")
    assert conditions(world, "Deployment", "d")["Available"][0] == "False"
    world.kubelet.start(pod)
    assert conditions(world, "Deployment", "d")["Available"][0] == "False"
    world.kubelet.ready(pod)
    assert conditions(world, "Deployment", "d") == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    status = world.get("Deployment", "d")["status"]
    assert (status["readyReplicas"], status["updatedReplicas"]) == (1, 1)
    assert status["observedGeneration"] == 1
    world.kubelet.unready(pod)
    assert "readyReplicas" not in world.get("Deployment", "d")["status"]


def test_a_deployment_without_surge_wants_one_pod_at_a_time(world) -> None:
    deployment(world)
    start_ready(world, world.pod("d"))
    seen = []
    pods = world.cluster.resource("v1", "Pod")

    def count(event) -> None:
        found = world.cluster.list(pods)
        seen.append(sum("deletionTimestamp" not in pod["metadata"] for pod in found))

    world.cluster.watch([pods], count)
    deployment(world, image="x:2")
    assert max(seen) == 1
    assert images(world) == ["x:2"]


def test_a_deployment_with_surge_keeps_the_old_pod_until_the_new_one_is_ready(world) -> None:
    deployment(world, surge=1, unavailable=0)
    start_ready(world, world.pod("d"))
    deployment(world, surge=1, unavailable=0, image="x:2")
    assert images(world) == ["x:1", "x:2"]
    new = next(
        pod for pod in world.pods("d") if images(world) and pod["status"]["phase"] == "Pending"
    )
    start_ready(world, new)
    assert images(world) == ["x:2"]
    revision = world.get("Deployment", "d")["metadata"]["annotations"]
    assert revision["deployment.kubernetes.io/revision"] == "2"


def test_a_rollout_respects_shares_of_many_replicas(world) -> None:
    deployment(world, replicas=4, surge="25%", unavailable="25%")
    for pod in world.pods("d"):
        start_ready(world, pod)
    deployment(world, replicas=4, surge="25%", unavailable="25%", image="x:2")
    ready = [pod for pod in world.pods("d") if condition(pod, "Ready")["status"] == "True"]
    assert len(ready) == 3
    assert len(world.pods("d")) == 5


def test_a_deployment_scales_to_nothing_and_back(world) -> None:
    deployment(world)
    start_ready(world, world.pod("d"))
    deployment(world, replicas=0)
    assert world.pods("d") == []
    assert conditions(world, "Deployment", "d")["Available"][0] == "True"
    deployment(world)
    assert len(world.pods("d")) == 1


def test_a_rollout_that_does_not_move_is_told_after_its_deadline(world) -> None:
    deployment(world, progressDeadlineSeconds=60, surge=1, unavailable=0)
    world.advance(59)
    assert conditions(world, "Deployment", "d")["Progressing"] == ("True", "ReplicaSetUpdated")
    world.advance(2)
    assert conditions(world, "Deployment", "d")["Progressing"] == (
        "False",
        "ProgressDeadlineExceeded",
    )
    start_ready(world, world.pod("d"))
    assert conditions(world, "Deployment", "d")["Progressing"][0] == "True"


def test_an_evicted_pod_is_replaced(world) -> None:
    deployment(world)
    first = world.pod("d")
    start_ready(world, first)
    world.kubelet.evict(first)
    assert world.pod("d")["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_container_that_fails_is_restarted_in_place(world) -> None:
    deployment(world)
    pod = world.pod("d")
    start_ready(world, pod)
    world.kubelet.fail(pod, exit_code=137, reason="OOMKilled")
    status = world.pod("d")["status"]["containerStatuses"][0]
    assert (status["restartCount"], status["lastState"]["terminated"]["reason"]) == (1, "OOMKilled")
    world.kubelet.fail(pod)
    waiting = world.pod("d")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    world.advance(11)
    assert world.kubelet.running(pod) == ["main"]


def test_an_image_that_cannot_be_pulled_is_tried_again(world) -> None:
    deployment(world)
    pod = world.pod("d")
    state = lambda: world.pod("d")["status"]["containerStatuses"][0]["state"]  # noqa: E731
    world.kubelet.refuse_image(pod, "manifest unknown")
    assert state()["waiting"] == {"reason": "ErrImagePull", "message": "manifest unknown"}
    world.advance(2)
    assert state()["waiting"]["reason"] == "ImagePullBackOff"
    world.kubelet.allow_image(pod)
    world.advance(30)
    assert world.kubelet.running(pod) == ["main"]


def stateful_set(world, **spec) -> None:
    world.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "s"},
            "spec": {
                "replicas": 2,
                "serviceName": "s-headless",
                "selector": {"matchLabels": {"app": "x"}},
                "template": template(readinessProbe={"httpGet": {"port": 80}}),
                **spec,
            },
        }
    )


def test_an_ordered_stateful_set_starts_one_pod_after_the_other(world) -> None:
    stateful_set(world)
    assert [pod["metadata"]["name"] for pod in world.pods("s")] == ["s-0"]
    start_ready(world, "s-0")
    assert [pod["metadata"]["name"] for pod in world.pods("s")] == ["s-0", "s-1"]
    start_ready(world, "s-1")
    assert world.get("StatefulSet", "s")["status"]["readyReplicas"] == 2


def test_a_parallel_stateful_set_starts_all_pods_with_their_numbers(world) -> None:
    stateful_set(world, podManagementPolicy="Parallel")
    pods = world.pods("s")
    assert [pod["spec"]["hostname"] for pod in pods] == ["s-0", "s-1"]
    assert {pod["spec"]["subdomain"] for pod in pods} == {"s-headless"}


def test_a_stateful_set_replaces_the_last_pod_first(world) -> None:
    stateful_set(world)
    start_ready(world, "s-0")
    start_ready(world, "s-1")
    new = template(readinessProbe={"httpGet": {"port": 80}})
    new["spec"]["containers"][0]["image"] = "x:2"
    stateful_set(world, template=new)
    image = lambda name: world.get("Pod", name)["spec"]["containers"][0]["image"]  # noqa: E731
    assert (image("s-0"), image("s-1")) == ("x:1", "x:2")
    start_ready(world, "s-1")
    assert (image("s-0"), image("s-1")) == ("x:2", "x:2")


def service(world, **spec) -> None:
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "svc"},
            "spec": {"selector": {"app": "x"}, "ports": [{"port": 80, "targetPort": 5000}], **spec},
        }
    )


def endpoints(world):
    return [
        (each["ports"][0]["port"], each["endpoints"][0]["conditions"]["ready"])
        for each in world.list("EndpointSlice")
    ]


def test_a_service_leads_to_pods_while_they_are_ready(world) -> None:
    service(world)
    deployment(world)
    pod = world.pod("d")
    assert endpoints(world) == []
    world.kubelet.start(pod)
    assert endpoints(world) == [(5000, False)]
    world.kubelet.ready(pod)
    assert endpoints(world) == [(5000, True)]
    deployment(world, replicas=0)
    assert endpoints(world) == []


def test_a_service_may_publish_pods_before_they_are_ready(world) -> None:
    service(world, publishNotReadyAddresses=True)
    deployment(world)
    world.kubelet.start(world.pod("d"))
    assert endpoints(world) == [(5000, True)]


def test_a_pod_whose_secret_is_missing_starts_when_it_appears(world) -> None:
    pods = template(restart="Never")
    pods["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "late"}}]
    job(world, template=pods)
    pod = world.pod("j")
    world.kubelet.start(pod)
    assert world.kubelet.running(pod) == []
    assert (
        'secret "late" not found'
        in world.events(pod["metadata"]["name"], "FailedMount")[0]["message"]
    )
    world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}})
    assert world.kubelet.running(pod) == ["main"]


def test_deleting_a_namespace_deletes_what_is_in_it(world) -> None:
    world.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    world.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "team"}}
    )
    world.delete("Namespace", "team", "")
    assert world.find("Namespace", "team", "") is None
    assert world.list("Secret", namespace="team") == []


def test_deleting_a_definition_deletes_its_objects(world) -> None:
    world.apply(
        "{apiVersion: kaito.sh/v1alpha1, kind: Workspace, metadata: {name: w}, "
        "resource: {labelSelector: {}}, inference: {preset: {name: x}}}"
    )
    world.delete("CustomResourceDefinition", "workspaces.kaito.sh", "")
    assert world.find("CustomResourceDefinition", "workspaces.kaito.sh", "") is None
    with pytest.raises(Exception, match="no kind"):
        world.list("Workspace")


def test_the_story_is_told_when_it_asks_for_something_impossible(world) -> None:
    job(world, init=["first"])
    pod = world.pod("j")
    with pytest.raises(AssertionError, match="call start"):
        world.kubelet.succeed(pod)
    world.kubelet.start(pod)
    with pytest.raises(AssertionError, match="main does not run"):
        world.kubelet.succeed(pod, "main")
    with pytest.raises(KeyError, match="it has first, main"):
        world.kubelet.succeed(pod, "pusher")
    with pytest.raises(ValueError, match="use succeed"):
        world.kubelet.fail(pod, exit_code=0)


def test_what_is_left_behind_is_named(world) -> None:
    job(world)
    with pytest.raises(AssertionError, match="left behind: Pod default/j-"):
        world.assert_nothing_remains()
    world.delete("Job", "j")
    world.assert_nothing_remains()


def test_apply_is_refused_in_the_words_of_the_api_server(world) -> None:
    with pytest.raises(Invalid, match="exactly one of `inference` and `tuning`"):
        world.apply(
            "{apiVersion: kaito.sh/v1alpha1, kind: Workspace, metadata: {name: w}, "
            "resource: {labelSelector: {}}}"
        )
