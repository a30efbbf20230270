"""What somebody changes by hand comes back, and what is taken away from a Workspace can be given back."""

from __future__ import annotations

from typing import Any

from kaito_laptop.core.objects import controller_of, get, uid

from tests.harness.story import INFERENCE, SERVED, Story


def served(world: Story) -> None:
    world.apply(INFERENCE)
    world.nodes_come(SERVED)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)


def test_a_service_that_is_pointed_elsewhere_points_back(world: Story) -> None:
    served(world)
    before = world.get("Service", SERVED)["spec"]
    world.edit(
        "Service",
        SERVED,
        lambda item: item["spec"]["selector"].update({"kaito.sh/workspace": "other"}),
    )
    world.soon(lambda: world.get("Service", SERVED)["spec"]["selector"] == before["selector"])
    assert world.get("Service", SERVED)["spec"]["clusterIP"] == before["clusterIP"]


def test_a_deployment_that_is_scaled_is_scaled_back(world: Story) -> None:
    served(world)
    world.edit("Deployment", SERVED, lambda item: item["spec"].update(replicas=3))
    world.soon(lambda: world.get("Deployment", SERVED)["spec"]["replicas"] == 1)
    world.soon(lambda: len([pod for pod in world.pods(SERVED) if not _ends(pod)]) == 1)


def test_a_service_that_is_deleted_comes_back(world: Story) -> None:
    served(world)
    gone = uid(world.get("Service", SERVED))
    world.delete("Service", SERVED)
    world.soon(lambda: uid(world.find("Service", SERVED) or {}) not in ("", gone))


def test_a_label_of_somebody_else_stays(world: Story) -> None:
    served(world)
    world.edit("Service", SERVED, lambda item: item["metadata"]["labels"].update(team="ml"))
    world.let_resyncs_pass()
    assert world.get("Service", SERVED)["metadata"]["labels"]["team"] == "ml"


def test_a_service_without_its_label_is_let_go_and_taken_back_with_it(world: Story) -> None:
    served(world)
    owner = uid(world.get("Workspace", SERVED))
    world.edit("Service", SERVED, lambda item: item["metadata"]["labels"].pop("controller-uid"))
    world.soon(lambda: controller_of(world.get("Service", SERVED)) is None)
    world.edit(
        "Service",
        SERVED,
        lambda item: item["metadata"]["labels"].update({"controller-uid": owner}),
    )
    world.soon(lambda: get(controller_of(world.get("Service", SERVED)), "uid") == owner)


def _ends(pod: dict[str, Any]) -> bool:
    return get(pod, "metadata", "deletionTimestamp") is not None
