"""What each edit of a tuning Workspace costs: nothing, one more attempt, or another training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    complete_job,
    config_map,
    failed_job,
    merged,
    pod_of,
    ready_machine,
    tuning_workspace,
)
from tests.unit.workspace.test_tuning import CHECKED, PUSHED, TRAINED, rolled_out

NAME = "workspace-tuning-phi-3"
URL = "https://data.example/dolly/train.parquet"
CONFIG = "training_config:\n  QuantizationConfig: {load_in_4bit: true}\n  LoraConfig: {r: 4, lora_alpha: 8}\n"
TIDIED = (
    "# the team's settings\ntraining_config:\n\n  LoraConfig:\n    lora_alpha: 8\n    r: 4  # rank\n"
    "  QuantizationConfig:\n    load_in_4bit: yes\n"
)
OOM = ("train", 1, {"reason": "OutOfMemory", "message": "boom"})
Edit = Callable[["Cluster"], None]


@dataclass
class Cluster:
    """What the hook sees of one Workspace; the status goes back in as Metacontroller writes it."""

    sync: Any
    parent: dict[str, Any]
    config: str = CONFIG
    children: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)

    def look(self) -> dict[str, Any]:
        related = [config_map("params", self.config), *self.pods]
        answer: dict[str, Any] = self.sync(self.parent, self.children, related)
        self.parent = {**self.parent, "status": answer["status"]}
        return answer

    def change(self, **changes: Any) -> None:
        self.parent = merged(self.parent, changes)

    def retry(self, value: str | None) -> None:
        self.change(metadata={"annotations": {"kaito.sh/retry": value}})

    def apply(self, answer: dict[str, Any]) -> None:
        """As Metacontroller does, and the garbage collector: what is not in the answer goes, with its pods."""
        names = kinds(answer)
        kept = [c for c in self.children if (c["kind"], c["metadata"]["name"]) in names]
        there = [(c["kind"], c["metadata"]["name"]) for c in kept]
        made = [
            as_observed(c)
            for c in answer["children"]
            if (c["kind"], c["metadata"]["name"]) not in there
        ]
        front = [as_observed(child(answer, kind)) for kind in ("Secret", "Service")]
        others = [c for c in [*kept, *made] if c["kind"] not in ("Secret", "Service")]
        self.children = [*front, *others]
        jobs = {c["metadata"]["name"] for c in kept if c["kind"] == "Job"}
        self.pods = [p for p in self.pods if p["metadata"]["name"].removesuffix("-x7k2p") in jobs]


def cluster(sync: Any, state: str, retry: str | None = None) -> Cluster:
    """A Workspace that has come so far."""
    parent = tuning_workspace(
        tuning={"config": "params", "input": {"urls": [URL], "imagePullSecrets": ["data-pull"]}}
    )
    seen = Cluster(sync, parent)
    if retry:
        seen.retry(retry)
    seen.children = [as_observed(item) for item in seen.look()["children"]]
    check = child(seen.look(), "Job")
    if state == "check failed":
        seen.children += [failed_job(check)]
        bad = {"reason": "PushDenied", "message": "403"}
        seen.pods = [pod_of(check, ("check", 1, bad), phase="Failed")]
    if state == "check failed":
        seen.look()
        return seen
    seen.children += [complete_job(check)]
    seen.pods = [pod_of(check, CHECKED)]
    machine = child(seen.look(), "Machine")["metadata"]["name"]
    seen.children += [ready_machine(parent, machine)]
    job = next(
        c for c in seen.look()["children"] if c["metadata"]["name"] == NAME and c["kind"] == "Job"
    )
    pulled: list[Any] = [("weights", 0, {}), ("data", 0, {})]
    if state == "training":
        pod = pod_of(job, *pulled, phase="Pending")
        running = {"name": "train", "state": {"running": {"startedAt": "2026-11-02T09:20:00Z"}}}
        pod["status"]["initContainerStatuses"].append(running)
        seen.children += [as_observed(job, status={"active": 1})]
        seen.pods += [pod]
    if state == "pulling":
        seen.children += [as_observed(job, status={"active": 1})]
        seen.pods += [pod_of(job, pulled[0], phase="Pending")]
    if state == "failed":
        seen.children += [failed_job(job)]
        seen.pods += [pod_of(job, *pulled, OOM, phase="Failed")]
    if state == "served":
        seen.children += [complete_job(job)]
        seen.pods += [pod_of(job, *pulled, TRAINED, PUSHED)]
        seen.children += [as_observed(child(seen.look(), "Deployment"), status=rolled_out(1))]
    seen.look()
    return seen


def tidy(seen: Cluster) -> None:
    seen.config = TIDIED


def change(**changes: Any) -> Edit:
    return lambda seen: seen.change(**changes)


def tune(**changes: Any) -> Edit:
    return change(tuning=changes)


def retry(value: str | None) -> Edit:
    return lambda seen: seen.retry(value)


def raise_the_rank(seen: Cluster) -> None:
    seen.config = CONFIG.replace("r: 4", "r: 16")


OUTPUT = {"output": {"image": "other.example/adapters/phi-3:0.0.2"}}
PULL_SECRET = {"input": {"imagePullSecrets": ["renamed"]}}
PUSH_SECRET = {"output": {"imagePushSecret": "renamed"}}
SIGNED = {"input": {"urls": [f"{URL}?sv=2024&sp=r&se=2027-01-01&sig=abc"]}}
OTHER_URL = {"input": {"urls": ["https://data.example/other.parquet"]}}
IMAGE = {"input": {"urls": None, "image": "docker.io/team/data:1"}}
IDLE_EDITS: dict[str, Edit] = {
    "comments, newlines, order of keys": tidy,
    "pull Secret renamed": tune(**PULL_SECRET),
    "push Secret renamed": tune(**PUSH_SECRET),
    "URL signed anew": tune(**SIGNED),
    "output image": tune(**OUTPUT),
    "name of the data": tune(input={"name": "dolly"}),
    "nothing served": tune(serve=False),
    "LoadBalancer": change(metadata={"annotations": {"kaito.sh/enablelb": "True"}}),
    "retry set": retry("1"),
    "retry removed": retry(None),
}
INPUT_EDITS: dict[str, tuple[Edit, str]] = {
    "preset": (
        tune(preset={"name": "phi-3-mini-4k-instruct"}),
        "`tuning.preset.name` from 'phi-3-mini-128k-instruct' to 'phi-3-mini-4k-instruct'",
    ),
    "URL": (
        tune(**OTHER_URL),
        f"`tuning.input.urls` from [{URL}] to [https://data.example/other.parquet]",
    ),
    "image of data": (tune(**IMAGE), "`tuning.input.image` from none to 'docker.io/team/data:1'"),
    "value of the configuration": (
        raise_the_rank,
        "`LoraConfig.r` of training_config.yaml from 4 to 16",
    ),
    "defaults": (
        tune(config=""),
        "`LoraConfig.lora_alpha` of training_config.yaml from 8 to the default",
    ),
}


def jobs(answer: dict[str, Any]) -> list[str]:
    return [name for kind, name in kinds(answer) if kind == "Job"]


def of_kind(answer: dict[str, Any], kind: str) -> list[Any]:
    return [item for item in answer["children"] if item["kind"] == kind]


def specs(answer: dict[str, Any], kind: str) -> list[Any]:
    return [item["spec"] for item in of_kind(answer, kind)]


@pytest.mark.parametrize("edit", IDLE_EDITS)
@pytest.mark.parametrize("state", ["training", "served"])
def test_an_edit_that_changes_no_weights_trains_nothing_again(
    sync: Any, state: str, edit: str
) -> None:
    seen = cluster(sync, state)
    before = seen.look()
    IDLE_EDITS[edit](seen)
    answer = seen.look()
    if (state, edit) == ("served", "output image"):
        assert sorted(jobs(answer)) == [NAME, f"{NAME}-check", f"{NAME}-push"]
        assert specs(answer, "Deployment") == specs(before, "Deployment")
        return
    assert of_kind(answer, "Job") == of_kind(before, "Job"), "as they were"
    assert of(answer, "TuningSucceeded")[:2] == of(before, "TuningSucceeded")[:2]
    if state == "served" and edit not in ("nothing served", "push Secret renamed"):
        assert specs(answer, "Deployment") == specs(before, "Deployment")
        assert ready(answer)[0] == "True" or edit == "LoadBalancer"
    if (state, edit) != ("served", "nothing served"):
        assert of_kind(answer, "Machine") == of_kind(before, "Machine")
    again = seen.look()
    assert (again["status"], again["children"]) == (answer["status"], answer["children"])


@pytest.mark.parametrize("edit", INPUT_EDITS)
def test_an_edit_that_changes_the_weights_trains_again_and_says_what_changed(
    sync: Any, edit: str
) -> None:
    seen = cluster(sync, "served")
    how, words = INPUT_EDITS[edit]
    how(seen)
    answer = seen.look()
    assert jobs(answer) == []
    assert words in ready(answer)[2]
    seen.apply(answer)
    check = child(seen.look(), "Job")
    assert jobs(seen.look()) == [f"{NAME}-check"]
    assert words in ready(seen.look())[2], "as long as it is under way"
    seen.children.append(complete_job(check))
    seen.pods.append(pod_of(check, CHECKED))
    assert words in of(seen.look(), "InferenceReady")[2]


def test_a_message_compares_with_what_was_tuned_and_not_with_the_last_edit(sync: Any) -> None:
    seen = cluster(sync, "served")
    seen.change(tuning=OTHER_URL)
    seen.apply(seen.look())
    raise_the_rank(seen)
    answer = seen.look()
    assert f"`tuning.input.urls` from [{URL}]" in ready(answer)[2]
    assert "`LoraConfig.r` of training_config.yaml from 4 to 16" in ready(answer)[2]


def test_inputs_that_come_back_are_served_as_they_were(sync: Any) -> None:
    seen = cluster(sync, "served")
    before = seen.look()
    raise_the_rank(seen)
    seen.apply(seen.look())
    seen.config = CONFIG
    seen.apply(seen.look())
    answer = seen.look()
    assert jobs(answer) == []
    assert ready(answer)[0] == "True"
    assert specs(answer, "Deployment") == specs(before, "Deployment")


def with_other_output(sync: Any) -> tuple[Cluster, dict[str, Any], dict[str, Any]]:
    """A Workspace that is served and whose output was changed; its answer before, and the Job that pushes."""
    seen = cluster(sync, "served")
    before = seen.look()
    seen.change(tuning=OUTPUT)
    return seen, before, push_of(seen.look())


def push_of(answer: dict[str, Any]) -> dict[str, Any]:
    return next(job for job in of_kind(answer, "Job") if job["metadata"]["name"] == f"{NAME}-push")


def pushed(job: dict[str, Any]) -> dict[str, Any]:
    report = {"image": OUTPUT["output"]["image"], "digest": PUSHED[2]["digest"], "bytes": 1}
    return pod_of(job, ("adapter", 0, {}), ("docker-sidecar", 0, report))


def server_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The pod that serves."""
    pod = pod_of(child(answer, "Deployment"), phase="Running")
    running = {"name": NAME, "ready": True, "restartCount": 0, "state": {"running": {}}}
    pod["status"]["containerStatuses"] = [running]
    return merged(pod, {"metadata": {"name": f"{NAME}-served"}})


def test_a_changed_output_pushes_the_adapter_again_without_a_gpu(sync: Any) -> None:
    seen, before, job = with_other_output(sync)
    containers = job["spec"]["template"]["spec"]
    old = f"mlteam.azurecr.io/adapters/phi-3@{PUSHED[2]['digest']}"
    assert old in containers["initContainers"][0]["args"]
    assert OUTPUT["output"]["image"] in containers["containers"][0]["args"]
    assert "nvidia.com/gpu" not in str(job)
    answer = seen.look()
    assert specs(answer, "Deployment") == specs(before, "Deployment"), "served meanwhile"
    assert of(answer, "InferenceReady")[0] == "True"
    assert ready(answer)[:2] == ("False", "PushPending")
    assert "nothing is tuned again" in ready(answer)[2]
    seen.children.append(as_observed(job, status={"active": 1}))
    pod = pod_of(job, ("adapter", 0, {}), phase="Running")
    seen.pods.append(pod)
    assert ready(seen.look())[1] == "PushRunning"
    seen.children[-1] = complete_job(job)
    seen.pods[-1] = pushed(job)
    answer = seen.look()
    assert answer["status"]["tuning"]["image"] == OUTPUT["output"]["image"]
    assert f"{NAME}-push" in jobs(answer), "until the status has been written"
    assert f"other.example/adapters/phi-3@{PUSHED[2]['digest']}" in str(specs(answer, "Deployment"))
    answer = seen.look()
    assert sorted(jobs(answer)) == [NAME, f"{NAME}-check"]
    assert of(answer, "TuningSucceeded")[0] == "True"


def test_an_output_that_comes_back_needs_no_push(sync: Any) -> None:
    seen, before, job = with_other_output(sync)
    seen.children.append(as_observed(job, status={"active": 1}))
    seen.change(tuning={"output": {"image": PUSHED[2]["image"]}})
    assert jobs(seen.look()) == jobs(before)
    assert ready(seen.look())[0] == "True"


def test_a_push_that_fails_leaves_the_adapter_served_and_is_run_again_on_retry(sync: Any) -> None:
    seen, before, job = with_other_output(sync)
    seen.children.append(failed_job(job))
    seen.pods.append(server_of(before))
    bad = {"reason": "PushDenied", "message": "other.example refused the push with 403"}
    seen.pods.append(pod_of(job, ("adapter", 0, {}), ("docker-sidecar", 1, bad), phase="Failed"))
    answer = seen.look()
    assert ready(answer)[1] == "PushDenied"
    assert f"The adapter lies at {PUSHED[2]['image']}@{PUSHED[2]['digest']}" in ready(answer)[2]
    assert ready(answer)[2].endswith('kaito.sh/retry="$(date +%s)" --overwrite')
    assert of(answer, "Stalled")[0] == "True"
    assert specs(answer, "Deployment") == specs(before, "Deployment")
    assert of_kind(answer, "Machine") == of_kind(before, "Machine")
    seen.retry("7")
    answer = seen.look()
    assert sorted(jobs(answer)) == [NAME, f"{NAME}-check"], "what was trained stays"
    seen.apply(answer)
    answer = seen.look()
    assert push_of(answer)["metadata"]["annotations"]["kaito.sh/retry"] == "7"
    assert answer["status"]["tuning"]["retry"] == "7"


def test_another_push_secret_begins_the_push_anew(sync: Any) -> None:
    seen, _, job = with_other_output(sync)
    seen.children.append(as_observed(job, status={"active": 1}))
    seen.change(tuning=PUSH_SECRET)
    answer = seen.look()
    assert f"{NAME}-push" not in jobs(answer)
    seen.apply(answer)
    assert "renamed" in str(push_of(seen.look()))


@pytest.mark.parametrize("lost", ["pod", "status"])
def test_a_push_whose_proof_is_lost_is_made_again(sync: Any, lost: str) -> None:
    seen, _, job = with_other_output(sync)
    seen.children.append(complete_job(job))
    if lost == "status":
        seen.parent.pop("status")
        seen.pods.append(pushed(job))
        assert seen.look()["status"]["tuning"]["image"] == OUTPUT["output"]["image"]
        return
    answer = seen.look()
    assert f"{NAME}-push" not in jobs(answer)
    seen.apply(answer)
    assert push_of(seen.look())


def test_without_serving_the_push_asks_for_no_node(sync: Any) -> None:
    seen = cluster(sync, "served")
    seen.change(tuning={"serve": False, **OUTPUT})
    answer = seen.look()
    assert push_of(answer)
    assert not {"Machine", "Deployment"} & {kind for kind, _ in kinds(answer)}
    assert ready(answer)[1] == "PushPending"
    seen.children += [complete_job(push_of(answer))]
    seen.pods.append(pushed(push_of(answer)))
    seen.look()
    assert ready(seen.look())[0] == "True"


FAILURES = ["check failed", "failed"]


@pytest.mark.parametrize("state", FAILURES)
@pytest.mark.parametrize("edit", ["retry removed", "comments, newlines, order of keys"])
def test_what_failed_stays_as_it_is(sync: Any, state: str, edit: str) -> None:
    seen = cluster(sync, state, retry="1")
    before = seen.look()
    IDLE_EDITS[edit](seen)
    answer = seen.look()
    assert answer["children"] == before["children"]
    assert ready(answer) == ready(before)


@pytest.mark.parametrize("state", FAILURES)
def test_retry_runs_once_more_what_failed(sync: Any, state: str) -> None:
    seen = cluster(sync, state)
    seen.retry("2")
    answer = seen.look()
    assert jobs(answer) == []
    assert "retry" not in answer["status"].get("tuning", {}), "not before the Jobs are gone"
    seen.apply(answer)
    answer = seen.look()
    assert jobs(answer) == [f"{NAME}-check"]
    assert answer["status"]["tuning"]["retry"] == "2"
    check = child(answer, "Job")
    assert check["metadata"]["annotations"]["kaito.sh/retry"] == "2"
    seen.children.append(failed_job(check))
    bad = {"reason": "PushDenied", "message": "403"}
    seen.pods.append(pod_of(check, ("check", 1, bad), phase="Failed"))
    assert jobs(seen.look()) == [f"{NAME}-check"], "and not twice"
    assert of(seen.look(), "Stalled")[0] == "True"


@pytest.mark.parametrize("state", FAILURES)
@pytest.mark.parametrize(
    "way", ["same value again", "removed", "removed and set again", "status lost"]
)
def test_a_value_of_retry_is_good_once(sync: Any, state: str, way: str) -> None:
    seen = cluster(sync, state, retry="2")
    before = seen.look()
    assert before["status"]["tuning"]["retry"] == "2"
    if way.startswith("removed"):
        seen.retry(None)
        seen.look()
    if way != "removed":
        seen.retry("2")
    if way == "status lost":
        seen.parent.pop("status")
    answer = seen.look()
    assert jobs(answer) == jobs(before)
    assert of(answer, "Stalled")[0] == "True"
    assert answer["status"]["tuning"]["retry"] == "2"


@pytest.mark.parametrize("state", ["training", "served"])
def test_retry_set_while_nothing_has_failed_asks_for_nothing_later_either(
    sync: Any, state: str
) -> None:
    seen = cluster(sync, state)
    seen.retry("3")
    answer = seen.look()
    assert NAME in jobs(answer)
    assert answer["status"]["tuning"]["retry"] == "3"
    if state == "training":
        job = next(c for c in seen.children if c["kind"] == "Job" and c["metadata"]["name"] == NAME)
        bare = {key: value for key, value in child(answer, "Job").items() if key != "status"}
        seen.children = [*(c for c in seen.children if c is not job), failed_job(bare)]
        seen.pods[-1] = pod_of(bare, OOM, phase="Failed")
        assert NAME in jobs(seen.look())
        assert ready(seen.look())[1] == "OutOfMemory"


def test_a_result_that_is_lost_is_made_again_on_retry_alone(sync: Any) -> None:
    seen = cluster(sync, "served")
    seen.children = [c for c in seen.children if c["kind"] != "Deployment"]
    seen.pods = seen.pods[:1]
    seen.parent.pop("status")
    assert ready(seen.look())[1] == "ResultsMissing"
    assert NAME in jobs(seen.look())
    seen.retry("4")
    assert jobs(seen.look()) == []


OPENERS = {"push Secret": PUSH_SECRET, "pull Secret": PULL_SECRET, "URL": SIGNED, "output": OUTPUT}


@pytest.mark.parametrize("edit", OPENERS)
@pytest.mark.parametrize("state", ["check failed", "pulling"])
def test_what_has_not_begun_to_train_reads_and_pushes_as_the_workspace_says_now(
    sync: Any, state: str, edit: str
) -> None:
    seen = cluster(sync, state)
    hash_before = hash_of(seen.look())
    seen.change(tuning=OPENERS[edit])
    answer = seen.look()
    assert jobs(answer) == []
    assert hash_of(answer) == hash_before
    seen.apply(answer)
    seen.apply(seen.look())
    assert "renamed" in json.dumps(seen.children) or edit in ("URL", "output")
    assert jobs(seen.look()) == [f"{NAME}-check"]


def hash_of(answer: dict[str, Any]) -> str:
    return str(child(answer, "Secret")["metadata"]["annotations"]["kaito.sh/tuning-hash"])


def test_no_credential_is_in_the_record_of_inputs(sync: Any) -> None:
    urls = ["https://user:hunter2@data.example/a.parquet?key=hunter3&sig=hunter4&se=1"]
    seen = cluster(sync, "served")
    seen.config = CONFIG + "  TrainingArguments: {hub_token: hunter5}\n"
    seen.change(tuning={"input": {"urls": urls}})
    answer = seen.look()
    seen.apply(answer)
    second = seen.look()
    told = json.dumps(answer["status"]) + json.dumps(
        [c["metadata"] for a in (answer, second) for c in a["children"]]
    )
    assert "hub_token" in told
    assert "https://data.example/a.parquet" in told
    assert "hunter" not in told
