"""A Workspace in a namespace with a quota and a LimitRange: the figures of its own pods hold."""

from __future__ import annotations

from typing import Any

from tests.harness.admission_rows import limit_range
from tests.harness.builders import merged
from tests.harness.documented import quota
from tests.harness.story import INFERENCE, NAME, SERVED, TUNING, Story

LARGE = merged(TUNING, {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}})
QUOTA: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "kaito"},
    "spec": {"hard": quota()},
}


def test_a_workspace_is_tuned_and_served_within_the_quota_of_the_documentation(
    world: Story,
) -> None:
    world.apply(limit_range(default={"cpu": "500m", "memory": "512Mi"}))
    world.apply(QUOTA)
    world.apply(LARGE)
    world.check_succeeds()
    world.nodes_come()
    world.tunes()
    world.serves()
    world.says("WorkspaceReady")
    (pod,) = [each for each in world.list("Pod") if each["status"]["phase"] == "Running"]
    served = pod["spec"]["containers"][0]["resources"]
    assert (served["limits"]["cpu"], served["limits"]["memory"]) == ("24", "8Gi")
    assert "kubernetes.io/limit-ranger" not in pod["metadata"].get("annotations", {})
    used = world.get("ResourceQuota", "kaito")["status"]["used"]
    assert (used["pods"], used["limits.memory"]) == ("1", "8Gi")
    world.is_a_fixed_point()


def test_a_quota_that_is_too_small_is_told_before_a_node_is_paid_for(world: Story) -> None:
    world.apply(merged(QUOTA, {"spec": {"hard": {"limits.memory": "16Gi"}}}))
    world.apply(LARGE)
    world.check_succeeds()
    assert world.says("PodRefused").endswith(
        "exceeded quota: kaito, requested: limits.memory=28Gi, used: limits.memory=0, "
        "limited: limits.memory=16Gi"
    )
    assert world.machines() == []
    world.apply(QUOTA)
    world.nodes_come()
    world.tunes()
    world.serves()
    world.says("WorkspaceReady")


def test_a_quota_that_comes_later_is_told_in_the_words_of_the_api_server(world: Story) -> None:
    world.apply(LARGE)
    world.check_succeeds()
    world.run_until(lambda: bool(world.machines()))
    world.apply(merged(QUOTA, {"spec": {"hard": {"limits.memory": "16Gi"}}}))
    world.nodes_come()
    world.soon(lambda: bool(world.events(NAME, "FailedCreate")))
    said = world.events(NAME, "FailedCreate")[0]["message"].partition("is forbidden: ")[2]
    words = world.says("PodRefused")
    assert said in words
    assert "The node is paid for and serves nobody; unless that changes, it is given back" in words
    world.apply(QUOTA)
    world.run_until(lambda: len(world.list("Pod")) == 2, within=120)
    world.tunes()
    world.serves()
    world.says("WorkspaceReady")


def test_a_deployment_whose_pod_is_refused_has_the_words_of_the_api_server(world: Story) -> None:
    world.apply(LARGE)
    world.becomes_ready()
    world.apply({**QUOTA, "spec": {"hard": {"limits.memory": "4Gi"}}})
    serving = {"app.kubernetes.io/component": "inference"}
    world.delete("Pod", world.pod(NAME, **serving)["metadata"]["name"])
    words = world.says("PodRefused")
    assert "is forbidden: exceeded quota: kaito, requested: limits.memory=8Gi" in words
    world.run_until(lambda: world.words()[0] == "IdleNodesReleased")
    world.run_until(lambda: not world.machines() and not world.pools())


def test_a_limit_range_that_kills_the_model_is_told_and_costs_nothing(world: Story) -> None:
    world.apply(limit_range(max={"memory": "16Gi"}))
    world.apply(merged(INFERENCE, {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}}))
    assert "maximum memory usage per Container is 16Gi" in world.says("PodRefused", SERVED)
    assert world.machines() == []
    world.delete("LimitRange", "r")
    world.nodes_come(SERVED)
