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
    story: Story,
) -> None:
    story.apply(limit_range(default={"cpu": "500m", "memory": "512Mi"}))
    story.apply(QUOTA)
    story.apply(LARGE)
    story.check_succeeds()
    story.nodes_come()
    story.tunes()
    story.serves()
    story.says("WorkspaceReady")
    (pod,) = [each for each in story.list("Pod") if each["status"]["phase"] == "Running"]
    served = pod["spec"]["containers"][0]["resources"]
    assert (served["limits"]["cpu"], served["limits"]["memory"]) == ("24", "8Gi")
    assert "kubernetes.io/limit-ranger" not in pod["metadata"].get("annotations", {})
    used = story.get("ResourceQuota", "kaito")["status"]["used"]
    assert (used["pods"], used["limits.memory"]) == ("1", "8Gi")
    story.is_a_fixed_point()


def test_a_quota_that_is_too_small_is_told_before_a_node_is_paid_for(story: Story) -> None:
    story.apply(merged(QUOTA, {"spec": {"hard": {"limits.memory": "16Gi"}}}))
    story.apply(LARGE)
    story.check_succeeds()
    assert story.says("PodRefused").endswith(
        "exceeded quota: kaito, requested: limits.memory=28Gi, used: limits.memory=0, "
        "limited: limits.memory=16Gi"
    )
    assert story.machines() == []
    story.apply(QUOTA)
    story.nodes_come()
    story.tunes()
    story.serves()
    story.says("WorkspaceReady")


def test_a_quota_that_comes_later_is_told_in_the_words_of_the_api_server(story: Story) -> None:
    story.apply(LARGE)
    story.check_succeeds()
    story.run_until(lambda: bool(story.machines()))
    story.apply(merged(QUOTA, {"spec": {"hard": {"limits.memory": "16Gi"}}}))
    story.nodes_come()
    story.soon(lambda: bool(story.events(NAME, "FailedCreate")))
    said = story.events(NAME, "FailedCreate")[0]["message"].partition("is forbidden: ")[2]
    words = story.says("PodRefused")
    assert said in words
    assert "The node is paid for and serves nobody; unless that changes, it is given back" in words
    story.apply(QUOTA)
    story.run_until(lambda: len(story.list("Pod")) == 2, within=120)
    story.tunes()
    story.serves()
    story.says("WorkspaceReady")


def test_a_deployment_whose_pod_is_refused_has_the_words_of_the_api_server(story: Story) -> None:
    story.apply(LARGE)
    story.becomes_ready()
    story.apply({**QUOTA, "spec": {"hard": {"limits.memory": "4Gi"}}})
    serving = {"app.kubernetes.io/component": "inference"}
    story.delete("Pod", story.pod(NAME, **serving)["metadata"]["name"])
    words = story.says("PodRefused")
    assert "is forbidden: exceeded quota: kaito, requested: limits.memory=8Gi" in words
    story.run_until(lambda: story.words()[0] == "IdleNodesReleased")
    story.run_until(lambda: not story.machines() and not story.pools())


def test_a_limit_range_that_kills_the_model_is_told_and_costs_nothing(story: Story) -> None:
    story.apply(limit_range(max={"memory": "16Gi"}))
    story.apply(merged(INFERENCE, {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}}))
    assert "maximum memory usage per Container is 16Gi" in story.says("PodRefused", SERVED)
    assert story.machines() == []
    story.delete("LimitRange", "r")
    story.nodes_come(SERVED)
