"""What goes wrong ends, says why, frees the node, and comes right again when the owner does what the message says."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_laptop.core.objects import uid

from tests.harness.builders import merged
from tests.harness.story import IMAGE, INFERENCE, NAME, SERVED, TUNING, Story

INFERENCE_PODS = {"app.kubernetes.io/component": "inference"}


def retry(story: Story, value: str = "1") -> None:
    """What the message tells the owner to type."""
    again = f'kubectl annotate workspace {NAME} -n {story.namespace} kaito.sh/retry="$(date +%s)" --overwrite'
    story.soon(lambda: story.words()[1].endswith(again))
    story.edit(
        "Workspace",
        NAME,
        lambda item: (
            item["metadata"].setdefault("annotations", {}).update({"kaito.sh/retry": value})
        ),
    )


CHECKS = [
    ("DataUnreachable", "https://data.example/dolly answered 404"),
    ("DataColumnsInvalid", "the columns are 'question', 'answer'; write messages"),
    ("DataUnreadable", "train.parquet is no parquet: it ends early"),
    ("PushDenied", "mlteam.azurecr.io refused the push (401); correct the Secret acr-push"),
    ("RegistryUnreachable", "mlteam.azurecr.io does not answer"),
    ("CredentialsInvalid", "the Secret acr-push does not exist"),
]


@pytest.mark.parametrize(("reason", "message"), CHECKS, ids=[row[0] for row in CHECKS])
def test_a_check_that_fails_costs_no_node_and_can_be_run_again(
    story: Story, reason: str, message: str
) -> None:
    story.apply(TUNING)
    story.check_fails(reason, message)
    assert message in story.says(reason)
    story.becomes("Stalled")
    assert story.machines() == []
    story.is_a_fixed_point()
    assert story.azure.count("PUT") == 0
    retry(story)
    story.becomes_ready()


JOBS: list[tuple[list[str], str, dict[str, Any], str]] = [
    (
        ["weights"],
        "weights",
        {"reason": "WeightsUnreachable", "message": "404"},
        "WeightsUnreachable",
    ),
    (
        ["weights", "data"],
        "data",
        {"reason": "DataUnreachable", "message": "gone meanwhile"},
        "DataUnreachable",
    ),
    (
        ["weights", "data", "train"],
        "train",
        {"reason": "LossNotFinite", "message": "step 3"},
        "LossNotFinite",
    ),
    (["weights", "data", "train"], "train", {}, "TuningFailed"),
    (
        ["weights", "data", "train", "docker-sidecar"],
        "docker-sidecar",
        {"reason": "PushDenied", "message": "403"},
        "PushDenied",
    ),
    (
        ["weights", "data", "train", "docker-sidecar"],
        "docker-sidecar",
        {"reason": "DigestMismatch", "message": "x"},
        "DigestMismatch",
    ),
]


@pytest.mark.parametrize(
    ("order", "broken", "message", "reason"), JOBS, ids=[f"{row[1]}: {row[3]}" for row in JOBS]
)
def test_a_tuning_that_fails_frees_its_node_and_can_be_run_again(
    story: Story, order: list[str], broken: str, message: dict[str, Any], reason: str
) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    pod = story.pod(NAME)
    story.kubelet.start(pod)
    for container in order[:-1]:
        story.kubelet.succeed(pod, container)
    story.kubelet.fail(pod, broken, message=message)
    story.says(reason)
    story.becomes("Stalled")
    story.run_until(lambda: not story.machines())
    assert story.pools() == []
    story.is_a_fixed_point()
    retry(story)
    story.becomes_ready()
    story.deleted()


def test_the_trainer_that_is_killed_for_memory_is_told(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    pod = story.pod(NAME)
    story.kubelet.start(pod)
    story.kubelet.succeed(pod, "weights")
    story.kubelet.succeed(pod, "data")
    story.kubelet.fail(pod, "train", exit_code=137, reason="OOMKilled")
    assert "larger `resource.instanceType`" in story.says("OutOfMemory")


def test_the_placeholders_of_the_quick_start_end_stalled_without_a_machine(story: Story) -> None:
    story.apply(
        merged(
            TUNING,
            {"tuning": {"output": {"image": "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"}}},
        )
    )
    story.says("OutputImageInvalid")
    story.becomes("Stalled")
    assert (story.machines(), story.azure.count("PUT")) == ([], 0)
    story.edit("Workspace", NAME, lambda item: item["tuning"]["output"].update(image=IMAGE))
    story.becomes_ready()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preset": {"name": "phi-3-mini"}}, "PresetUnknown"),
        ({"method": "lora"}, "InstanceTypeTooSmall"),
    ],
)
def test_what_is_immutable_and_wrong_is_made_again(
    story: Story, change: dict[str, Any], reason: str
) -> None:
    story.apply(merged(TUNING, {"tuning": change}))
    story.says(reason)
    story.deleted()
    story.apply(TUNING)
    story.becomes_ready()


def test_an_evicted_trainer_starts_again_and_is_no_failure(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    pod = story.pod(NAME)
    story.kubelet.start(pod)
    story.kubelet.evict(pod)
    assert not story.is_true(NAME, "Stalled")
    story.run_until(lambda: story.is_replaced(pod, NAME))
    (fresh,) = story.pods(NAME)
    story.kubelet.start(fresh)
    for container in ("weights", "data", "train"):
        story.kubelet.succeed(fresh, container)
    story.kubelet.succeed(fresh, "docker-sidecar", {"image": IMAGE, "digest": "sha256:" + "1" * 64})
    story.serves()
    story.becomes("WorkspaceReady")


@pytest.mark.parametrize("lost", ["Job", "status", "both"])
def test_what_was_tuned_is_not_tuned_again(story: Story, lost: str) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    trained = _trainers(story)
    if lost in ("Job", "both"):
        story.delete("Job", NAME)
    if lost in ("status", "both"):
        story.set_status("Workspace", NAME, {})
    story.settle()
    assert story.is_true(NAME, "WorkspaceReady"), story.words()
    assert _trainers(story) == (trained if lost == "status" else set())
    assert (story.find("Job", NAME) is None) == (lost != "status")


def _trainers(story: Story) -> set[str]:
    return {uid(pod) for pod in story.pods(NAME, **{"app.kubernetes.io/component": "tuning"})}


def test_new_inputs_are_tuned_on_the_same_node_and_the_old_model_serves_until_then(
    story: Story,
) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    machines = story.machines()
    story.edit(
        "Workspace",
        NAME,
        lambda item: item["tuning"]["input"].update(urls=["https://data.example/v2.parquet"]),
    )
    story.becomes("WorkspaceReady", status=False)
    assert story.is_true(NAME, "InferenceReady"), "the old model serves while the check runs"
    assert not story.is_true(NAME, "AdapterVerified"), "the new one is not even tuned"
    story.run_until(lambda: len(story.pods(f"{NAME}-check")) == 1)
    story.check_succeeds()
    story.soon(lambda: story.condition(NAME, "InferenceReady")["reason"] == "Retuning")
    story.run_until(lambda: len(story.pods(NAME, **{"app.kubernetes.io/component": "tuning"})) == 1)
    story.tunes(digest="sha256:" + "5" * 64)
    story.becomes("TuningSucceeded")
    assert not story.is_true(NAME, "AdapterVerified")
    story.serves()
    story.becomes("WorkspaceReady")
    assert "5" * 64 in story.condition(NAME, "AdapterVerified")["message"]
    assert story.is_true(NAME, "AdapterVerified")
    assert story.machines() == machines
    assert story.get("Workspace", NAME)["status"]["tuning"]["digest"] == "sha256:" + "5" * 64


def test_a_retuning_that_fails_serves_the_previous_adapter_again(story: Story) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    story.edit(
        "Workspace",
        NAME,
        lambda item: item["tuning"]["input"].update(urls=["https://data.example/v2.parquet"]),
    )
    story.run_until(lambda: len(story.pods(f"{NAME}-check")) == 1)
    story.check_succeeds()
    story.run_until(lambda: len(story.pods(NAME, **{"app.kubernetes.io/component": "tuning"})) == 1)
    pod = story.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    story.kubelet.start(pod)
    story.kubelet.fail(pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"})
    story.serves()
    story.becomes("InferenceReady")
    story.says("WeightsUnreachable")
    story.becomes("Stalled")


def test_an_adapter_that_the_server_refuses_is_not_verified(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    story.tunes()
    pod = story.pod(NAME, **INFERENCE_PODS)
    story.kubelet.start(pod)
    for container in ("weights", "adapter"):
        story.kubelet.succeed(pod, container)
    words = 'the adapter "phi-3" was tuned on other weights; tune again'
    story.kubelet.fail(pod, NAME, message={"reason": "AdapterInvalid", "message": words})
    story.soon(lambda: story.condition(NAME, "AdapterVerified")["status"] == "False")
    refused = story.condition(NAME, "AdapterVerified")
    assert (refused["reason"], refused["message"]) == ("AdapterInvalid", words)
    story.kubelet.fail(pod, NAME, message={"reason": "AdapterInvalid", "message": words})
    assert story.says("AdapterInvalid").startswith(words)
    story.becomes("Stalled")


def test_a_deployment_deleted_by_hand_comes_back(story: Story) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    old = story.pod(NAME, **INFERENCE_PODS)
    story.delete("Deployment", NAME)
    story.run_until(lambda: story.is_replaced(old, NAME, **INFERENCE_PODS))
    story.serves()
    story.becomes("WorkspaceReady")


def test_a_deployment_of_the_same_name_that_is_not_ours_is_told(story: Story) -> None:
    labels = {"app": "somebody-else"}
    story.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": SERVED},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
                },
            },
        }
    )
    story.apply(INFERENCE)
    assert f"kubectl describe deployment {SERVED} -n {story.namespace}" in story.says(
        "ChildConflict", SERVED
    )
    assert story.machines() == []
    story.delete("Deployment", SERVED)
    story.nodes_come(SERVED)
    story.run_until(lambda: len(story.pods(SERVED, **INFERENCE_PODS)) == 1)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)


@pytest.mark.parametrize("workspace", [INFERENCE, TUNING], ids=["inference", "tuning"])
def test_a_service_of_the_same_name_that_is_not_ours_is_told_before_a_node_is_paid_for(
    story: Story, workspace: dict[str, Any]
) -> None:
    name = workspace["metadata"]["name"]
    theirs = {"selector": {"app": "somebody-else"}, "ports": [{"port": 80}]}
    story.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": theirs})
    story.apply(workspace)
    assert f"kubectl describe service {name} -n {story.namespace}" in story.says(
        "ChildConflict", name
    )
    story.let_resyncs_pass()
    assert story.machines() == []
    assert story.get("Service", name)["spec"]["selector"] == theirs["selector"]
    story.delete("Service", name)
    story.soon(lambda: story.words(name)[0] != "ChildConflict")


def test_a_foreign_secret_of_our_name_is_told_and_nothing_is_trained_with_it(story: Story) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{NAME}-config"},
        "stringData": {"training_config.yaml": "training_config: {LoraConfig: {r: 512}}"},
    }
    story.apply(secret)
    story.apply(TUNING)
    story.run_until(lambda: story.words()[0] == "ChildConflict")
    assert f"kubectl get secret {NAME}-config -n {story.namespace}" in story.words()[1]
    assert story.machines() == []
    assert story.find("Job", f"{NAME}-check") is None
    story.delete("Secret", f"{NAME}-config")
    story.check_succeeds()


def test_no_credential_reaches_a_hook_a_log_or_a_status(story: Story) -> None:
    story.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "acr-push"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {
                ".dockerconfigjson": '{"auths": {"mlteam.azurecr.io": {"auth": "bWU6aHVudGVyMi1odW50ZXIy"}}}'
            },
        }
    )
    story.apply(TUNING)
    story.becomes_ready()
    story.deleted()
    seen = (
        "".join(call.request.decode() + call.answer.body.decode() for call in story.calls)
        + story.log.getvalue()
    )
    assert len(seen) > 10_000
    for secret in ("bWU6aHVudGVyMi1odW50ZXIy", "hunter2"):
        assert secret not in seen
