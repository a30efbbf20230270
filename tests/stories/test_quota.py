"""A Workspace in a namespace with a quota and a LimitRange: the figures of its own pods hold."""

from __future__ import annotations

from typing import Any

from support.admission_rows import limit_range
from support.builders import merged
from support.documented import quota
from support.story import NAME, TUNING, Story

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


def test_a_quota_that_is_too_small_holds_the_training_up_until_it_is_raised(world: Story) -> None:
    world.apply(merged(QUOTA, {"spec": {"hard": {"limits.memory": "16Gi"}}}))
    world.apply(LARGE)
    world.check_succeeds()
    world.nodes_come()
    world.soon(lambda: bool(world.events(NAME, "FailedCreate")))
    assert world.events(NAME, "FailedCreate")[0]["message"].endswith(
        "is forbidden: exceeded quota: kaito, requested: limits.memory=28Gi, used: limits.memory=0, "
        "limited: limits.memory=16Gi"
    )
    world.apply(QUOTA)
    world.run_until(lambda: len(world.list("Pod")) == 2, within=120)
    world.tunes()
    world.serves()
    world.says("WorkspaceReady")
