"""What comes later than the Workspace, or answers later, is waited for and told; nobody has to annotate anything."""

from __future__ import annotations

from tests.harness.builders import merged
from tests.harness.story import INFERENCE, NAME, SERVED, TUNING, Story

RETRYABLE = 75
INFERENCE_PODS = {"app.kubernetes.io/component": "inference"}
NO_SECRET = {
    "reason": "CredentialsMissing",
    "message": "the credentials file /mnt/push-secret/.dockerconfigjson is not there",
}
NO_ANSWER = {
    "reason": "RegistryUnreachable",
    "message": "mlteam.azurecr.io can't be reached: Name or service not known",
}


def check_meets(story: Story, trouble: dict[str, str]) -> None:
    pod = story.pod(f"{NAME}-check")
    story.kubelet.start(pod)
    story.kubelet.fail(pod, "check", exit_code=RETRYABLE, message=trouble)


def another_pod(story: Story, owner: str = f"{NAME}-check", **selector: str) -> None:
    """Wait out the Job controller's pause."""
    ended = [pod["metadata"]["uid"] for pod in story.pods(owner, **selector)]
    story.run_until(
        lambda: any(p["metadata"]["uid"] not in ended for p in story.pods(owner, **selector))
    )


def test_a_secret_that_is_applied_later_is_waited_for(story: Story) -> None:
    story.apply(TUNING)
    check_meets(story, NO_SECRET)
    words = story.says("CredentialsMissing")
    assert "'acr-push' that `tuning.output.imagePushSecret` names" in words
    assert f"kubectl create secret docker-registry acr-push -n {story.namespace}" in words
    assert "--docker-server=mlteam.azurecr.io" in words
    story.becomes("Reconciling")
    assert story.machines() == []
    another_pod(story)
    check_meets(story, NO_SECRET)
    another_pod(story)
    story.check_succeeds()
    story.becomes("InputsChecked")


def test_a_config_map_that_is_applied_later_is_waited_for(story: Story) -> None:
    story.apply(merged(TUNING, {"tuning": {"config": "params"}}))
    assert f"kubectl create configmap params -n {story.namespace}" in story.says("ConfigMapMissing")
    story.becomes("Reconciling")
    settings = "training_config: {QuantizationConfig: {load_in_4bit: true}}"
    story.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "params"},
            "data": {"training_config.yaml": settings},
        }
    )
    story.check_succeeds()
    story.becomes("InputsChecked")


def test_weights_that_do_not_come_at_once_are_pulled_again_on_the_same_node(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    tuning = {"app.kubernetes.io/component": "tuning"}
    pod = story.pod(NAME, **tuning)
    story.kubelet.start(pod)
    trouble = {"reason": "WeightsUnreachable", "message": "the hub answered 503"}
    story.kubelet.fail(pod, "weights", exit_code=RETRYABLE, message=trouble)
    assert "Retrying" in story.says("WeightsUnreachable")
    machine = story.machine()
    another_pod(story, NAME, **tuning)
    pods = story.pods(NAME, **tuning)
    assert story.machines() == [machine]
    newest = max(pods, key=lambda each: each["metadata"]["creationTimestamp"])
    story.kubelet.start(newest)
    story.kubelet.succeed(newest, "weights", {"bytes": 7})


def test_what_was_trained_is_never_trained_again_for_a_registry(story: Story) -> None:
    story.apply(TUNING)
    story.check_succeeds()
    story.nodes_come()
    pod = story.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    story.kubelet.start(pod)
    for container in ("weights", "data", "train"):
        story.kubelet.succeed(pod, container, {})
    story.kubelet.fail(pod, "docker-sidecar", exit_code=RETRYABLE, message=NO_ANSWER)
    story.says("RegistryUnreachable")
    story.becomes("Stalled")
    story.run_until(lambda: not story.machines())


def test_api_keys_that_are_applied_later_are_waited_for_by_the_server(story: Story) -> None:
    keyed = {"metadata": {"annotations": {"kaito.sh/api-keys-secret": "chat-keys"}}}
    story.apply(merged(INFERENCE, keyed))
    story.nodes_come(SERVED)
    pod = story.pod(SERVED)
    story.kubelet.start(pod)
    story.run_until(lambda: story.words(SERVED)[0] == "ApiKeysNotMounted")
    create = f"kubectl create secret generic chat-keys -n {story.namespace} --from-file=api-keys"
    assert create in story.words(SERVED)[1]
    story.becomes("Reconciling", SERVED)
    story.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "chat-keys"},
            "stringData": {"api-keys": "a-key-of-a-client\n"},
        }
    )
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    seen = "".join(call.request.decode() + call.answer.body.decode() for call in story.calls)
    assert "a-key-of-a-client" not in seen
    assert "YS1rZXktb2YtYS1jbGllbnQK" not in seen, "not in base64 either"


def test_api_keys_are_added_to_a_server_that_runs_on_the_same_node(story: Story) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    machines, digest = story.machines(), story.get("Workspace", NAME)["status"]["tuning"]["digest"]
    job = story.get("Job", NAME)["metadata"]["uid"]
    (old,) = story.pods(NAME, **INFERENCE_PODS)
    story.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "chat-keys"},
            "stringData": {"api-keys": "a-key-of-a-client\n"},
        }
    )
    story.edit(
        "Workspace",
        NAME,
        lambda item: (
            item["metadata"]
            .setdefault("annotations", {})
            .update({"kaito.sh/api-keys-secret": "chat-keys"})
        ),
    )
    story.run_until(lambda: story.is_replaced(old, NAME, **INFERENCE_PODS))
    story.becomes("AdapterVerified", status=False)
    story.serves()
    story.becomes("WorkspaceReady")
    story.becomes("AdapterVerified")
    assert story.machines() == machines
    assert story.get("Job", NAME)["metadata"]["uid"] == job
    assert story.get("Workspace", NAME)["status"]["tuning"]["digest"] == digest
    story.is_a_fixed_point()
