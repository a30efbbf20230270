"""The flow of a tuning Workspace, one observation at a time; tests/stories run it whole."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    complete_job,
    condition,
    config_map,
    failed_job,
    merged,
    pod_of,
    ready_machine,
    tuning_workspace,
)

NAME = "workspace-tuning-phi-3"
DIGEST = "sha256:" + "9f" * 32
CHECKED = ("check", 0, {"rows": 15011, "columns": ["messages"], "files": []})
TRAINED = (
    "train",
    0,
    {
        "steps": 120,
        "firstLoss": 3.2149,
        "lastLoss": 0.4119,
        "seconds": 14.25,
        "quantization": "nf4",
    },
)
PUSHED = (
    "docker-sidecar",
    0,
    {"image": "mlteam.azurecr.io/adapters/phi-3:0.0.1", "digest": DIGEST, "bytes": 1},
)


class Lived:
    """A Workspace that has gone through the stages; each keeps what was observed."""

    def __init__(self, sync: Any, **changes: Any) -> None:
        self.sync = sync
        self.parent = tuning_workspace(**changes)
        first = sync(self.parent)
        self.base = [as_observed(item) for item in first["children"]]
        self.check = child(sync(self.parent, self.base), "Job")
        self.checked = [*self.base, complete_job(self.check)]
        self.check_pod = pod_of(self.check, CHECKED)
        with_check = sync(self.parent, self.checked, [self.check_pod])
        self.machine = ready_machine(self.parent, child(with_check, "Machine")["metadata"]["name"])
        self.with_node = [*self.checked, self.machine]
        tuning = sync(self.parent, self.with_node, [self.check_pod])
        self.job = child(tuning, "Job")
        self.job_pod = pod_of(self.job, ("weights", 0, {}), ("data", 0, {}), TRAINED, PUSHED)
        self.tuned = [*self.with_node, complete_job(self.job)]
        self.pods = [self.check_pod, self.job_pod]

    def ask(
        self, children: list[Any], related: list[Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        return dict(self.sync(merged(self.parent, changes), children, related))


@pytest.fixture
def lived(sync: Any) -> Lived:
    return Lived(sync)


def test_the_check_comes_before_any_machine(sync: Any) -> None:
    first = sync(tuning_workspace())
    assert kinds(first) == [("Secret", f"{NAME}-config"), ("Service", NAME)]
    answer = sync(tuning_workspace(), [as_observed(item) for item in first["children"]])
    assert kinds(answer) == [
        ("Job", f"{NAME}-check"),
        ("Secret", f"{NAME}-config"),
        ("Service", NAME),
    ]
    assert "nvidia.com/gpu" not in str(child(answer, "Job"))


def test_a_check_that_succeeded_is_followed_by_the_machine(lived: Lived) -> None:
    answer = lived.ask(lived.checked, [lived.check_pod])
    assert [kind for kind, _ in kinds(answer)] == ["Job", "Machine", "Secret", "Service"]
    assert of(answer, "InputsChecked")[0] == "True"
    assert of(answer, "MachineReady")[:2] == ("Unknown", "CreateMachinePending")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("DataUnreachable", "https://data.example/x.parquet answered 404"),
        ("PushDenied", "mlteam.azurecr.io refused the push with 401"),
    ],
)
def test_a_check_that_failed_says_why_and_asks_for_no_machine(
    lived: Lived, reason: str, message: str
) -> None:
    pod = pod_of(lived.check, ("check", 1, {"reason": reason, "message": message}), phase="Failed")
    answer = lived.ask([*lived.base, failed_job(lived.check)], [pod])
    assert ready(answer)[1] == reason
    assert message in ready(answer)[2]
    again = f'kubectl annotate workspace {NAME} -n ml-team kaito.sh/retry="$(date +%s)" --overwrite'
    assert ready(answer)[2].endswith(again)
    assert of(answer, "Stalled")[0] == "True"
    assert "Machine" not in dict(kinds(answer))


def test_the_job_starts_when_the_node_is_ready(lived: Lived) -> None:
    answer = lived.ask(lived.with_node, [lived.check_pod])
    assert ("Job", NAME) in kinds(answer)
    assert of(answer, "ResourceReady")[0] == "True"
    assert answer["status"]["workerNodes"] == ["aks-node-0"]
    job = child(answer, "Job")
    assert [item["name"] for item in job["spec"]["template"]["spec"]["initContainers"]] == [
        "weights",
        "data",
        "train",
    ]
    assert [item["name"] for item in job["spec"]["template"]["spec"]["containers"]] == [
        "docker-sidecar"
    ]


def test_credentials_are_mounted_where_they_are_needed_only(lived: Lived) -> None:
    spec = lived.job["spec"]["template"]["spec"]
    mounted = {
        item["name"]: {mount["name"] for mount in item["volumeMounts"]}
        for item in [*spec["initContainers"], *spec["containers"]]
    }
    assert "push-secret" in mounted["docker-sidecar"]
    assert not any("push-secret" in mounted[name] for name in ("weights", "data", "train"))


def test_a_pushed_adapter_is_served_by_digest_on_its_quantised_base(lived: Lived) -> None:
    answer = lived.ask(lived.tuned, lived.pods)
    spec = child(answer, "Deployment")["spec"]["template"]["spec"]
    adapter = spec["initContainers"][1]
    assert f"mlteam.azurecr.io/adapters/phi-3@{DIGEST}" in adapter["args"]
    assert {"--load_in_4bit", "--bnb_4bit_quant_type=nf4"} <= set(spec["containers"][0]["args"])
    assert answer["status"]["tuning"] == {
        "hash": lived.job["metadata"]["annotations"]["kaito.sh/tuning-hash"],
        "image": "mlteam.azurecr.io/adapters/phi-3:0.0.1",
        "digest": DIGEST,
        "steps": 120,
        "firstLoss": "3.215",
        "lastLoss": "0.4119",
        "seconds": "14.25",
        "quantization": "nf4",
    }


def served(lived: Lived) -> tuple[list[Any], dict[str, Any]]:
    """Everything there and ready, and the status of that moment."""
    deployment = child(lived.ask(lived.tuned, lived.pods), "Deployment")
    ready_deployment = as_observed(deployment, status=rolled_out(1))
    children = [*lived.tuned, ready_deployment]
    return children, lived.ask(children, lived.pods)["status"]


def rolled_out(replicas: int) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
    }


def test_a_workspace_is_ready_when_the_deployment_of_this_spec_is(lived: Lived) -> None:
    children, status = served(lived)
    answer = lived.ask(children, lived.pods, status=status)
    assert ready(answer)[:2] == ("True", "WorkspaceReady")
    assert answer["status"]["endpoint"] == f"http://{NAME}.ml-team.svc/chat"
    assert "resyncAfterSeconds" not in answer


def test_an_older_spec_of_the_deployment_is_not_ready(lived: Lived) -> None:
    children, status = served(lived)
    children[-1]["metadata"]["annotations"]["kaito.sh/spec-hash"] = "older"
    assert of(lived.ask(children, lived.pods, status=status), "InferenceReady")[:2] == (
        "False",
        "InferenceLoading",
    )


@pytest.mark.parametrize(
    "lost", ["status", "job", "pods", "status and pods", "job and pods", "job and status"]
)
def test_what_is_tuned_is_not_tuned_again(lived: Lived, lost: str) -> None:
    children, status = served(lived)
    kept = [
        item
        for item in children
        if "job" not in lost or item["metadata"]["name"] != NAME or item["kind"] != "Job"
    ]
    answer = lived.ask(
        kept, [] if "pods" in lost else lived.pods, status={} if "status" in lost else status
    )
    assert of(answer, "TuningSucceeded")[0] == "True"
    assert ready(answer)[0] == "True"
    if "job" in lost:
        assert ("Job", NAME) not in kinds(answer)


def test_without_serving_the_machine_goes_when_the_push_is_proven(sync: Any) -> None:
    lived = Lived(sync, tuning={"serve": False})
    answer = lived.ask(lived.tuned, lived.pods)
    assert {"Machine", "Deployment"}.isdisjoint(dict(kinds(answer)))
    assert ready(answer)[0] == "True"
    assert of(answer, "ResourceReady")[1] == "ResourcesReleased"
    assert ("Job", NAME) in kinds(answer)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (
            ("train", 1, {"reason": "LossNotFinite", "message": "step 3: the loss is nan"}),
            "LossNotFinite",
        ),
        (("docker-sidecar", 1, {"reason": "PushDenied", "message": "403"}), "PushDenied"),
        (("weights", 1, {"reason": "WeightsUnreachable", "message": "404"}), "WeightsUnreachable"),
        (("train", 1, {"message": "boom"}), "TuningFailed"),
    ],
)
def test_a_job_that_failed_says_why_and_frees_the_machine(
    lived: Lived, end: Any, reason: str
) -> None:
    pod = pod_of(lived.job, end, phase="Failed")
    answer = lived.ask([*lived.with_node, failed_job(lived.job)], [lived.check_pod, pod])
    assert ready(answer)[1] == reason
    assert of(answer, "Stalled")[0] == "True"
    assert "Machine" not in dict(kinds(answer))
    assert ("Job", NAME) in kinds(answer)


def test_a_pod_that_wrote_more_than_its_folders_may_hold_says_so(lived: Lived) -> None:
    words = 'Usage of EmptyDir volume "data" exceeds the limit "10Gi". '
    pod = pod_of(lived.job, ("data", 137, {"message": ""}), phase="Failed")
    pod = merged(pod, {"status": {"reason": "Evicted", "message": words}})
    answer = lived.ask([*lived.with_node, failed_job(lived.job)], [lived.check_pod, pod])
    assert ready(answer)[1] == "DiskFull"
    assert words.strip() in ready(answer)[2]


def test_a_container_that_used_more_memory_than_its_limit_says_so(lived: Lived) -> None:
    pod = pod_of(lived.job, ("train", 137, {"message": ""}), phase="Failed")
    pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled"
    answer = lived.ask([*lived.with_node, failed_job(lived.job)], [lived.check_pod, pod])
    assert ready(answer)[1] == "OutOfMemory"
    assert "'train' was killed because it used more memory than its limit" in ready(answer)[2]


def test_a_job_that_ended_well_without_a_digest_anywhere_is_told(lived: Lived) -> None:
    answer = lived.ask(lived.tuned, [lived.check_pod])
    assert ready(answer)[1] == "ResultsMissing"
    assert "Machine" not in dict(kinds(answer))


def with_new_secret(answer: dict[str, Any], children: list[Any]) -> list[Any]:
    """The children after Metacontroller has applied the Secret of the new inputs."""
    others = [item for item in children if item["kind"] != "Secret"]
    return [as_observed(child(answer, "Secret")), *others]


def test_a_job_of_other_inputs_is_omitted_and_replaced_when_its_pods_are_gone(lived: Lived) -> None:
    children, status = served(lived)
    changed = {
        "metadata": {"generation": 2},
        "tuning": {"input": {"urls": ["https://data.example/other.parquet"]}},
        "status": status,
    }
    answer = lived.ask(children, lived.pods, **changed)
    assert [name for kind, name in kinds(answer) if kind == "Job"] == []
    gone = with_new_secret(answer, [item for item in children if item["kind"] != "Job"])
    running = [merged(pod, {"status": {"phase": "Running"}}) for pod in lived.pods]
    assert [
        name for kind, name in kinds(lived.ask(gone, running, **changed)) if kind == "Job"
    ] == []
    assert [name for kind, name in kinds(lived.ask(gone, [], **changed)) if kind == "Job"] == [
        f"{NAME}-check"
    ]


def test_new_inputs_keep_the_old_adapter_served_until_the_check_has_succeeded(lived: Lived) -> None:
    children, status = served(lived)
    changed = {
        "metadata": {"generation": 2},
        "tuning": {"input": {"urls": ["https://data.example/other.parquet"]}},
        "status": status,
    }
    gone = [item for item in children if item["kind"] != "Job"]
    gone = with_new_secret(lived.ask(gone, [], **changed), gone)
    answer = lived.ask(gone, [], **changed)
    assert child(answer, "Deployment")["spec"]["replicas"] == 1
    assert ready(answer)[0] == "False"
    check = child(answer, "Job")
    again = lived.ask([*gone, complete_job(check)], [pod_of(check, CHECKED)], **changed)
    assert child(again, "Deployment")["spec"]["replicas"] == 0
    assert of(again, "InferenceReady")[1] == "Retuning"
    assert ("Job", NAME) not in kinds(again), "the GPU is still held"
    at_rest = as_observed(child(again, "Deployment"), status=rolled_out(0))
    resting = [item for item in gone if item["kind"] != "Deployment"]
    third = lived.ask([*resting, at_rest, complete_job(check)], [pod_of(check, CHECKED)], **changed)
    assert ("Job", NAME) in kinds(third)
    job = child(third, "Job")
    failed = lived.ask(
        [*resting, at_rest, complete_job(check), failed_job(job)],
        [pod_of(job, ("train", 1, {"reason": "OutOfMemory", "message": "x"}), phase="Failed")],
        **changed,
    )
    assert child(failed, "Deployment")["spec"]["replicas"] == 1
    assert DIGEST in str(child(failed, "Deployment"))
    assert ready(failed)[1] == "OutOfMemory"
    assert "Machine" in dict(kinds(failed))


SAME_HASH: list[dict[str, Any]] = [
    {"tuning": {"serve": False}},
    {"tuning": {"output": {"image": "mlteam.azurecr.io/adapters/phi-3:0.0.2"}}},
    {"tuning": {"output": {"imagePushSecret": "other"}}},
    {"tuning": {"input": {"imagePullSecrets": ["other"]}}},
    {"metadata": {"labels": {"team": "ml"}}},
    {"metadata": {"annotations": {"kaito.sh/enablelb": "True"}}},
    {"metadata": {"annotations": {"kaito.sh/retry": "1"}}},
    {"resource": {"preferredNodes": ["n1"]}},
]
OTHER_HASH: list[dict[str, Any]] = [
    {"tuning": {"preset": {"name": "phi-3-mini-4k-instruct"}}},
    {"tuning": {"method": "lora"}, "resource": {"instanceType": "Standard_NC24ads_A100_v4"}},
    {"tuning": {"input": {"urls": ["https://data.example/other.parquet"]}}},
    {"tuning": {"config": "params"}},
]
CONFIG = "training_config: {QuantizationConfig: {load_in_4bit: true}, LoraConfig: {r: 4}}"


def test_an_upgrade_leaves_the_hash_of_inputs_alone(sync: Any) -> None:
    """What these very Workspaces have had since 2026-11-30: another one would tune everything again."""
    assert hash_of(sync, {}) == "62cff1a975a90c94"
    assert hash_of(sync, {"tuning": {"config": "params"}}) == "b3a585f995ea1001"


def hash_of(sync: Any, change: dict[str, Any]) -> str:
    answer = sync(tuning_workspace(**change), related=[config_map("params", CONFIG)])
    return str(child(answer, "Secret")["metadata"]["annotations"]["kaito.sh/tuning-hash"])


@pytest.mark.parametrize("change", SAME_HASH, ids=str)
def test_the_hash_does_not_move_with_what_is_no_input(sync: Any, change: dict[str, Any]) -> None:
    assert hash_of(sync, change) == hash_of(sync, {})


@pytest.mark.parametrize("change", OTHER_HASH, ids=str)
def test_the_hash_moves_with_each_input(sync: Any, change: dict[str, Any]) -> None:
    assert hash_of(sync, change) != hash_of(sync, {})


def test_the_configuration_is_frozen_once_it_was_resolved(lived: Lived) -> None:
    older = base64.b64encode(
        b"training_config: {LoraConfig: {r: 2}, QuantizationConfig: {load_in_4bit: true, bnb_4bit_quant_type: fp4}}"
    ).decode()
    frozen = as_observed(
        merged(child(lived.ask([]), "Secret"), {"data": {"training_config.yaml": older}})
    )
    children = [frozen, *(item for item in lived.tuned if item["kind"] != "Secret")]
    answer = lived.ask(children, lived.pods)
    assert child(answer, "Secret")["data"]["training_config.yaml"] == older
    assert (
        "--bnb_4bit_quant_type=fp4"
        in child(answer, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    )


def test_a_child_that_never_shows_up_is_told(lived: Lived) -> None:
    before = {
        "conditions": [
            condition("InputsChecked", "Unknown", "CheckPending", since="2026-11-02T09:29:00Z")
        ]
    }
    answer = lived.ask(lived.base, status=before)
    assert of(answer, "InputsChecked")[1] == "ChildConflict"
    assert f"kubectl get job {NAME}-check -n ml-team" in ready(answer)[2]
    assert of(answer, "Stalled")[0] == "True"


def test_the_reason_of_a_pod_that_waits_for_its_image_is_told(lived: Lived) -> None:
    pod = pod_of(lived.job, phase="Pending")
    pod["status"]["initContainerStatuses"] = [
        {
            "name": "weights",
            "state": {
                "waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            },
        }
    ]
    running = as_observed(lived.job, status={"active": 1})
    answer = lived.ask([*lived.with_node, running], [lived.check_pod, pod])
    assert ready(answer)[1] == "ImagePullFailed"
    assert "'weights'" in ready(answer)[2]


def test_an_eviction_is_no_failure(lived: Lived) -> None:
    pod = pod_of(lived.job, ("train", 137, {}), phase="Failed")
    pod["status"]["conditions"] = [condition("DisruptionTarget", "True", "EvictionByEvictionAPI")]
    answer = lived.ask(
        [*lived.with_node, as_observed(lived.job, status={"active": 0})], [lived.check_pod, pod]
    )
    assert ready(answer)[1] == "TuningDisrupted"
    assert "Machine" in dict(kinds(answer))
