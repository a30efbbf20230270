"""What somebody changes by hand comes back, and what is taken away from a Workspace can be given back."""

from __future__ import annotations

from typing import Any

from kaito_laptop.core.objects import controller_of, get, uid

from tests.harness.story import INFERENCE, SERVED, Story


def served(story: Story) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)


def test_a_service_that_is_pointed_elsewhere_points_back(story: Story) -> None:
    served(story)
    before = story.get("Service", SERVED)["spec"]
    story.edit(
        "Service",
        SERVED,
        lambda item: item["spec"]["selector"].update({"kaito.sh/workspace": "other"}),
    )
    story.soon(lambda: story.get("Service", SERVED)["spec"]["selector"] == before["selector"])
    assert story.get("Service", SERVED)["spec"]["clusterIP"] == before["clusterIP"]


def test_a_deployment_that_is_scaled_is_scaled_back(story: Story) -> None:
    served(story)
    story.edit("Deployment", SERVED, lambda item: item["spec"].update(replicas=3))
    story.soon(lambda: story.get("Deployment", SERVED)["spec"]["replicas"] == 1)
    story.soon(lambda: len([pod for pod in story.pods(SERVED) if not _ends(pod)]) == 1)


def test_a_service_that_is_deleted_comes_back(story: Story) -> None:
    served(story)
    gone = uid(story.get("Service", SERVED))
    story.delete("Service", SERVED)
    story.soon(lambda: uid(story.find("Service", SERVED) or {}) not in ("", gone))


def test_a_label_of_somebody_else_stays(story: Story) -> None:
    served(story)
    story.edit("Service", SERVED, lambda item: item["metadata"]["labels"].update(team="ml"))
    story.let_resyncs_pass()
    assert story.get("Service", SERVED)["metadata"]["labels"]["team"] == "ml"


def test_a_service_without_its_label_is_let_go_and_taken_back_with_it(story: Story) -> None:
    served(story)
    owner = uid(story.get("Workspace", SERVED))
    story.edit("Service", SERVED, lambda item: item["metadata"]["labels"].pop("controller-uid"))
    story.soon(lambda: controller_of(story.get("Service", SERVED)) is None)
    story.edit(
        "Service",
        SERVED,
        lambda item: item["metadata"]["labels"].update({"controller-uid": owner}),
    )
    story.soon(lambda: get(controller_of(story.get("Service", SERVED)), "uid") == owner)


def _ends(pod: dict[str, Any]) -> bool:
    return get(pod, "metadata", "deletionTimestamp") is not None
