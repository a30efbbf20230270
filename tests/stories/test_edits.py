"""Edits of a tuning Workspace: what trains again, what does not, and what is said."""

from __future__ import annotations

from typing import Any

from tests.harness.builders import merged
from tests.harness.story import DIGEST, NAME, TUNING, Story

CONFIG = "training_config:\n  QuantizationConfig: {load_in_4bit: true}\n  LoraConfig: {r: 4, lora_alpha: 8}\n"
TIDIED = (
    "# reviewed\ntraining_config:\n  LoraConfig:\n    lora_alpha: 8\n    r: 4\n\n"
    "  QuantizationConfig:\n    load_in_4bit: true\n"
)
OTHER = "other.example/adapters/phi-3:0.0.2"


def params(story: Story, text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "params", "namespace": story.namespace},
        "data": {"training_config.yaml": text},
    }


def write(story: Story, text: str) -> None:
    story.edit("ConfigMap", "params", lambda item: item["data"].update(params(story, text)["data"]))


def annotate(story: Story, value: str | None) -> None:
    def change(item: dict[str, Any]) -> None:
        annotations = item["metadata"].setdefault("annotations", {})
        annotations.pop("kaito.sh/retry", None)
        if value is not None:
            annotations["kaito.sh/retry"] = value

    story.edit("Workspace", NAME, change)


def uids(story: Story) -> dict[str, str]:
    return {
        f"{kind}/{item['metadata']['name']}": item["metadata"]["uid"]
        for kind in ("Job", "Deployment", "Machine", "Pod")
        for item in story.list(kind)
    }


def test_tidied_files_renamed_outputs_and_annotations_train_nothing_again(story: Story) -> None:
    story.apply(params(story, CONFIG))
    story.apply(merged(TUNING, {"tuning": {"config": "params"}}))
    story.becomes_ready()
    before = uids(story)

    write(story, TIDIED)
    story.settle()
    annotate(story, "1")
    story.soon(lambda: story.get("Workspace", NAME)["status"]["tuning"].get("retry") == "1")
    annotate(story, None)
    story.settle()
    assert uids(story) == before
    story.is_a_fixed_point()

    story.edit("Workspace", NAME, lambda item: item["tuning"]["output"].update(image=OTHER))
    pod = story.pod(f"{NAME}-push")
    assert "nothing is tuned again" in story.words()[1]
    assert story.is_true(NAME, "InferenceReady")
    story.kubelet.start(pod)
    story.kubelet.succeed(pod, "adapter", {"bytes": 7})
    story.kubelet.succeed(pod, "docker-sidecar", {"image": OTHER, "digest": DIGEST})
    story.soon(lambda: story.find("Job", f"{NAME}-push") is None)
    assert story.get("Workspace", NAME)["status"]["tuning"]["image"] == OTHER
    story.serves()
    story.becomes("WorkspaceReady")
    assert {key for key in uids(story) if "Pod/" not in key} == {
        key for key in before if "Pod/" not in key
    }
    story.is_a_fixed_point()

    write(story, TIDIED.replace("r: 4", "r: 16"))
    words = "What changed: `LoraConfig.r` of training_config.yaml from 4 to 16"
    story.soon(lambda: words in story.words()[1])
    story.check_succeeds()
    story.soon(lambda: words in story.condition(NAME, "InferenceReady")["message"])
    story.tunes()
    story.serves()
    story.becomes("WorkspaceReady")
    assert story.get("Workspace", NAME)["status"]["tuning"]["image"] == OTHER
    story.is_a_fixed_point()
    story.deleted()


def test_retry_runs_a_failed_tuning_once_more_and_taking_it_away_does_nothing(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    for attempt in ("1", "2"):
        pod = story.pod(NAME)
        story.kubelet.start(pod)
        for container in ("weights", "data"):
            story.kubelet.succeed(pod, container)
        story.kubelet.fail(pod, "train", message={"reason": "LossNotFinite", "message": "nan"})
        story.says("LossNotFinite")
        story.run_until(lambda: not story.machines())
        failed = story.get("Job", NAME)["metadata"]["uid"]
        annotate(story, None)
        story.is_a_fixed_point()
        assert story.get("Job", NAME)["metadata"]["uid"] == failed
        annotate(story, attempt)
        story.check_succeeds()
        story.nodes_come()
        assert story.get("Workspace", NAME)["status"]["tuning"] == {"retry": attempt}
    story.tunes()
    story.serves()
    story.becomes("WorkspaceReady")
    story.is_a_fixed_point()
    story.deleted()
