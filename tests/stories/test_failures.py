"""What goes wrong ends, says why, frees the node, and comes right again when the owner does what the message says."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_laptop.core.objects import uid

from tests.harness.builders import merged
from tests.harness.story import IMAGE, INFERENCE, NAME, SERVED, TUNING, Story

INFERENCE_PODS = {"app.kubernetes.io/component": "inference"}


def retry(world: Story, value: str = "1") -> None:
    """What the message tells the owner to type."""
    again = f'kubectl annotate workspace {NAME} -n {world.namespace} kaito.sh/retry="$(date +%s)" --overwrite'
    world.soon(lambda: world.words()[1].endswith(again))
    world.edit(
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
    world: Story, reason: str, message: str
) -> None:
    world.apply(TUNING)
    world.check_fails(reason, message)
    assert message in world.says(reason)
    world.becomes("Stalled")
    assert world.machines() == []
    world.is_a_fixed_point()
    assert world.azure.count("PUT") == 0
    retry(world)
    world.becomes_ready()


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
    world: Story, order: list[str], broken: str, message: dict[str, Any], reason: str
) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    pod = world.pod(NAME)
    world.kubelet.start(pod)
    for container in order[:-1]:
        world.kubelet.succeed(pod, container)
    world.kubelet.fail(pod, broken, message=message)
    world.says(reason)
    world.becomes("Stalled")
    world.run_until(lambda: not world.machines())
    assert world.pools() == []
    world.is_a_fixed_point()
    retry(world)
    world.becomes_ready()
    world.deleted()


def test_the_trainer_that_is_killed_for_memory_is_told(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    pod = world.pod(NAME)
    world.kubelet.start(pod)
    world.kubelet.succeed(pod, "weights")
    world.kubelet.succeed(pod, "data")
    world.kubelet.fail(pod, "train", exit_code=137, reason="OOMKilled")
    assert "larger `resource.instanceType`" in world.says("OutOfMemory")


def test_the_placeholders_of_the_quick_start_end_stalled_without_a_machine(world: Story) -> None:
    world.apply(
        merged(
            TUNING,
            {"tuning": {"output": {"image": "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"}}},
        )
    )
    world.says("OutputImageInvalid")
    world.becomes("Stalled")
    assert (world.machines(), world.azure.count("PUT")) == ([], 0)
    world.edit("Workspace", NAME, lambda item: item["tuning"]["output"].update(image=IMAGE))
    world.becomes_ready()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"preset": {"name": "phi-3-mini"}}, "PresetUnknown"),
        ({"method": "lora"}, "InstanceTypeTooSmall"),
    ],
)
def test_what_is_immutable_and_wrong_is_made_again(
    world: Story, change: dict[str, Any], reason: str
) -> None:
    world.apply(merged(TUNING, {"tuning": change}))
    world.says(reason)
    world.deleted()
    world.apply(TUNING)
    world.becomes_ready()


def test_an_evicted_trainer_starts_again_and_is_no_failure(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    pod = world.pod(NAME)
    world.kubelet.start(pod)
    world.kubelet.evict(pod)
    assert not world.is_true(NAME, "Stalled")
    world.run_until(lambda: world.is_replaced(pod, NAME))
    (fresh,) = world.pods(NAME)
    world.kubelet.start(fresh)
    for container in ("weights", "data", "train"):
        world.kubelet.succeed(fresh, container)
    world.kubelet.succeed(fresh, "docker-sidecar", {"image": IMAGE, "digest": "sha256:" + "1" * 64})
    world.serves()
    world.becomes("WorkspaceReady")


@pytest.mark.parametrize("lost", ["Job", "status", "both"])
def test_what_was_tuned_is_not_tuned_again(world: Story, lost: str) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    trained = _trainers(world)
    if lost in ("Job", "both"):
        world.delete("Job", NAME)
    if lost in ("status", "both"):
        world.set_status("Workspace", NAME, {})
    world.settle()
    assert world.is_true(NAME, "WorkspaceReady"), world.words()
    assert _trainers(world) == (trained if lost == "status" else set())
    assert (world.find("Job", NAME) is None) == (lost != "status")


def _trainers(world: Story) -> set[str]:
    return {uid(pod) for pod in world.pods(NAME, **{"app.kubernetes.io/component": "tuning"})}


def test_new_inputs_are_tuned_on_the_same_node_and_the_old_model_serves_until_then(
    world: Story,
) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    machines = world.machines()
    world.edit(
        "Workspace",
        NAME,
        lambda item: item["tuning"]["input"].update(urls=["https://data.example/v2.parquet"]),
    )
    world.becomes("WorkspaceReady", status=False)
    assert world.is_true(NAME, "InferenceReady"), "the old model serves while the check runs"
    world.run_until(lambda: len(world.pods(f"{NAME}-check")) == 1)
    world.check_succeeds()
    world.soon(lambda: world.condition(NAME, "InferenceReady")["reason"] == "Retuning")
    world.run_until(lambda: len(world.pods(NAME, **{"app.kubernetes.io/component": "tuning"})) == 1)
    world.tunes(digest="sha256:" + "5" * 64)
    world.serves()
    world.becomes("WorkspaceReady")
    assert world.machines() == machines
    assert world.get("Workspace", NAME)["status"]["tuning"]["digest"] == "sha256:" + "5" * 64


def test_a_retuning_that_fails_serves_the_previous_adapter_again(world: Story) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    world.edit(
        "Workspace",
        NAME,
        lambda item: item["tuning"]["input"].update(urls=["https://data.example/v2.parquet"]),
    )
    world.run_until(lambda: len(world.pods(f"{NAME}-check")) == 1)
    world.check_succeeds()
    world.run_until(lambda: len(world.pods(NAME, **{"app.kubernetes.io/component": "tuning"})) == 1)
    pod = world.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    world.kubelet.start(pod)
    world.kubelet.fail(pod, "weights", message={"reason": "WeightsUnreachable", "message": "404"})
    world.serves()
    world.becomes("InferenceReady")
    world.says("WeightsUnreachable")
    world.becomes("Stalled")


def test_a_deployment_deleted_by_hand_comes_back(world: Story) -> None:
    world.apply(TUNING)
    world.becomes_ready()
    old = world.pod(NAME, **INFERENCE_PODS)
    world.delete("Deployment", NAME)
    world.run_until(lambda: world.is_replaced(old, NAME, **INFERENCE_PODS))
    world.serves()
    world.becomes("WorkspaceReady")


def test_a_deployment_of_the_same_name_that_is_not_ours_is_told(world: Story) -> None:
    labels = {"app": "somebody-else"}
    world.apply(
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
    world.apply(INFERENCE)
    assert f"kubectl describe deployment {SERVED} -n {world.namespace}" in world.says(
        "ChildConflict", SERVED
    )
    assert world.machines() == []
    world.delete("Deployment", SERVED)
    world.nodes_come(SERVED)
    world.run_until(lambda: len(world.pods(SERVED, **INFERENCE_PODS)) == 1)
    world.serves(SERVED, tuned=False)
    world.becomes("WorkspaceReady", SERVED)


@pytest.mark.parametrize("workspace", [INFERENCE, TUNING], ids=["inference", "tuning"])
def test_a_service_of_the_same_name_that_is_not_ours_is_told_before_a_node_is_paid_for(
    world: Story, workspace: dict[str, Any]
) -> None:
    name = workspace["metadata"]["name"]
    theirs = {"selector": {"app": "somebody-else"}, "ports": [{"port": 80}]}
    world.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": theirs})
    world.apply(workspace)
    assert f"kubectl describe service {name} -n {world.namespace}" in world.says(
        "ChildConflict", name
    )
    world.let_resyncs_pass()
    assert world.machines() == []
    assert world.get("Service", name)["spec"]["selector"] == theirs["selector"]
    world.delete("Service", name)
    world.soon(lambda: world.words(name)[0] != "ChildConflict")


def test_a_foreign_secret_of_our_name_is_told_and_nothing_is_trained_with_it(world: Story) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{NAME}-config"},
        "stringData": {"training_config.yaml": "training_config: {LoraConfig: {r: 512}}"},
    }
    world.apply(secret)
    world.apply(TUNING)
    world.run_until(lambda: world.words()[0] == "ChildConflict")
    assert f"kubectl get secret {NAME}-config -n {world.namespace}" in world.words()[1]
    assert world.machines() == []
    assert world.find("Job", f"{NAME}-check") is None
    world.delete("Secret", f"{NAME}-config")
    world.check_succeeds()


def test_no_credential_reaches_a_hook_a_log_or_a_status(world: Story) -> None:
    world.apply(
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
    world.apply(TUNING)
    world.becomes_ready()
    world.deleted()
    seen = (
        "".join(call.request.decode() + call.answer.body.decode() for call in world.calls)
        + world.log.getvalue()
    )
    assert len(seen) > 10_000
    for secret in ("bWU6aHVudGVyMi1odW50ZXIy", "hunter2"):
        assert secret not in seen
