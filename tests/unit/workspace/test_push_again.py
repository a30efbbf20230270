"""A changed output: the adapter is pushed there as well, and nothing is trained."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    complete_job,
    failed_job,
    merged,
    pod_of,
)
from tests.unit.workspace.test_tuning import PUSHED
from tests.unit.workspace.tuning_cluster import (
    NAME,
    OUTPUT,
    PUSH_SECRET,
    Cluster,
    cluster,
    jobs,
    of_kind,
    specs,
)


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
