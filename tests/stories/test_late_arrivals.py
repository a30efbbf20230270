"""What comes later than the Workspace, or answers later, is waited for and told; nobody has to annotate anything."""

from __future__ import annotations

from tests.harness.builders import merged
from tests.harness.story import NAME, TUNING, Story

RETRYABLE = 75
NO_SECRET = {
    "reason": "CredentialsMissing",
    "message": "the credentials file /mnt/push-secret/.dockerconfigjson is not there",
}
NO_ANSWER = {
    "reason": "RegistryUnreachable",
    "message": "mlteam.azurecr.io can't be reached: Name or service not known",
}


def check_meets(world: Story, trouble: dict[str, str]) -> None:
    pod = world.pod(f"{NAME}-check")
    world.kubelet.start(pod)
    world.kubelet.fail(pod, "check", exit_code=RETRYABLE, message=trouble)


def another_pod(world: Story, owner: str = f"{NAME}-check", **selector: str) -> None:
    """Wait out the Job controller's pause."""
    ended = [pod["metadata"]["uid"] for pod in world.pods(owner, **selector)]
    world.run_until(
        lambda: any(p["metadata"]["uid"] not in ended for p in world.pods(owner, **selector))
    )


def test_a_secret_that_is_applied_later_is_waited_for(world: Story) -> None:
    world.apply(TUNING)
    check_meets(world, NO_SECRET)
    words = world.says("CredentialsMissing")
    assert "'acr-push' that `tuning.output.imagePushSecret` names" in words
    assert f"kubectl create secret docker-registry acr-push -n {world.namespace}" in words
    assert "--docker-server=mlteam.azurecr.io" in words
    world.becomes("Reconciling")
    assert world.machines() == []
    another_pod(world)
    check_meets(world, NO_SECRET)
    another_pod(world)
    world.check_succeeds()
    world.becomes("InputsChecked")


def test_a_config_map_that_is_applied_later_is_waited_for(world: Story) -> None:
    world.apply(merged(TUNING, {"tuning": {"config": "params"}}))
    assert f"kubectl create configmap params -n {world.namespace}" in world.says("ConfigMapMissing")
    world.becomes("Reconciling")
    settings = "training_config: {QuantizationConfig: {load_in_4bit: true}}"
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "params"},
            "data": {"training_config.yaml": settings},
        }
    )
    world.check_succeeds()
    world.becomes("InputsChecked")


def test_weights_that_do_not_come_at_once_are_pulled_again_on_the_same_node(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    tuning = {"app.kubernetes.io/component": "tuning"}
    pod = world.pod(NAME, **tuning)
    world.kubelet.start(pod)
    trouble = {"reason": "WeightsUnreachable", "message": "the hub answered 503"}
    world.kubelet.fail(pod, "weights", exit_code=RETRYABLE, message=trouble)
    assert "Retrying" in world.says("WeightsUnreachable")
    machine = world.machine()
    another_pod(world, NAME, **tuning)
    pods = world.pods(NAME, **tuning)
    assert world.machines() == [machine]
    newest = max(pods, key=lambda each: each["metadata"]["creationTimestamp"])
    world.kubelet.start(newest)
    world.kubelet.succeed(newest, "weights", {"bytes": 7})


def test_what_was_trained_is_never_trained_again_for_a_registry(world: Story) -> None:
    world.apply(TUNING)
    world.check_succeeds()
    world.nodes_come()
    pod = world.pod(NAME, **{"app.kubernetes.io/component": "tuning"})
    world.kubelet.start(pod)
    for container in ("weights", "data", "train"):
        world.kubelet.succeed(pod, container, {})
    world.kubelet.fail(pod, "docker-sidecar", exit_code=RETRYABLE, message=NO_ANSWER)
    world.says("RegistryUnreachable")
    world.becomes("Stalled")
    world.run_until(lambda: not world.machines())
