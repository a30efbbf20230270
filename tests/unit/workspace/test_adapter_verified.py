"""AdapterVerified: of the adapter of these inputs, and of no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, of, ready
from tests.harness.builders import (
    as_observed,
    complete_job,
    failed_job,
    inference_workspace,
    merged,
    pod_of,
    ready_machine,
)
from tests.unit.workspace.test_tuning import (
    CHECKED,
    DIGEST,
    NAME,
    Lived,
    rolled_out,
    served,
    with_new_secret,
)

OLD = "sha256:" + "01" * 32
TYPE = "AdapterVerified"
REFUSED = {
    "reason": "AdapterInvalid",
    "message": 'the adapter "phi-3" was tuned on other weights; tune again',
}
OTHER_DIGEST = {"reason": "DigestMismatch", "message": "what arrived is another one"}


@pytest.fixture
def lived(sync: Any) -> Lived:
    return Lived(sync)


def types_of(answer: dict[str, Any]) -> set[str]:
    return {item["type"] for item in answer["status"]["conditions"]}


def deployment_of(lived: Lived) -> dict[str, Any]:
    return child(lived.ask(lived.tuned, lived.pods), "Deployment")


def not_ready(lived: Lived) -> list[Any]:
    """What is there while the pod loads the model."""
    status = {**rolled_out(1), "readyReplicas": 0, "availableReplicas": 0}
    return [*lived.tuned, as_observed(deployment_of(lived), status=status)]


def test_it_is_there_where_an_adapter_is_served_only(lived: Lived, sync: Any) -> None:
    assert TYPE not in types_of(lived.ask(lived.with_node, [lived.check_pod]))
    assert of(lived.ask(lived.tuned, lived.pods), TYPE)[:2] == ("Unknown", "AdapterPending")
    unserved = Lived(sync, tuning={"serve": False})
    assert TYPE not in types_of(unserved.ask(unserved.tuned, unserved.pods))
    base = inference_workspace()
    assert TYPE not in types_of(sync(base, [ready_machine(base, "ws1")]))


def test_it_is_true_when_the_pod_of_this_digest_is_ready(lived: Lived) -> None:
    children, status = served(lived)
    found = of(lived.ask(children, lived.pods, status=status), TYPE)
    assert found[:2] == ("True", "AdapterVerified")
    assert f"mlteam.azurecr.io/adapters/phi-3:0.0.1@{DIGEST} is Ready" in found[2]
    assert "a token was generated with it" in found[2]


def test_it_is_unknown_while_the_pod_is_not_ready(lived: Lived) -> None:
    found = of(lived.ask(not_ready(lived), lived.pods), TYPE)
    assert found[:2] == ("Unknown", "AdapterPending")
    assert DIGEST in found[2]


def test_a_deployment_that_serves_the_old_digest_is_no_proof_of_the_new_one(lived: Lived) -> None:
    """Tuned again with the status written, and the Deployment not replaced yet: all its pods are Ready."""
    children, status = served(lived)
    older = {**status, "tuning": {**status["tuning"], "digest": OLD}}
    answer = lived.ask(children, [], status=older)
    assert f"@{OLD}" in str(child(answer, "Deployment"))
    assert of(answer, TYPE)[:2] == ("Unknown", "AdapterPending")
    assert OLD in of(answer, TYPE)[2]


ENDS = [
    (NAME, REFUSED, ("False", "AdapterInvalid", REFUSED["message"])),
    ("adapter", OTHER_DIGEST, ("False", "DigestMismatch", OTHER_DIGEST["message"])),
    ("weights", OTHER_DIGEST, ("Unknown", "AdapterPending", "")),
    (NAME, {"reason": "OutOfMemory", "message": "no room"}, ("Unknown", "AdapterPending", "")),
    (NAME, {"message": "boom"}, ("Unknown", "AdapterPending", "")),
]


@pytest.mark.parametrize(
    ("container", "message", "expected"), ENDS, ids=[f"{row[0]}: {row[1]}" for row in ENDS]
)
def test_it_is_false_when_the_pod_ended_because_of_the_adapter(
    lived: Lived, container: str, message: dict[str, str], expected: tuple[str, str, str]
) -> None:
    pod = pod_of(deployment_of(lived), (container, 1, message), phase="Running")
    found = of(lived.ask(not_ready(lived), [*lived.pods, pod]), TYPE)
    assert found[:2] == expected[:2]
    assert expected[2] in found[2]


def restarted(pod: dict[str, Any]) -> dict[str, Any]:
    """The same pod, whose server has been started again."""
    (ended,) = pod["status"]["containerStatuses"]
    again = {**ended, "lastState": ended["state"], "state": {"running": {}}, "restartCount": 1}
    return merged(pod, {"status": {"containerStatuses": [again]}})


def test_it_stays_false_while_the_kubelet_starts_the_server_again(lived: Lived) -> None:
    pod = restarted(pod_of(deployment_of(lived), (NAME, 1, REFUSED), phase="Running"))
    assert of(lived.ask(not_ready(lived), [*lived.pods, pod]), TYPE)[:2] == (
        "False",
        "AdapterInvalid",
    )


def test_it_is_true_again_once_the_same_pod_is_ready(lived: Lived) -> None:
    children, status = served(lived)
    pod = restarted(pod_of(deployment_of(lived), (NAME, 1, REFUSED), phase="Running"))
    assert of(lived.ask(children, [*lived.pods, pod], status=status), TYPE)[0] == "True"


@pytest.mark.parametrize("is_leaving", [False, True], ids=["of another digest", "on its way out"])
def test_what_became_of_another_pod_says_nothing(lived: Lived, is_leaving: bool) -> None:
    deployment = deployment_of(lived)
    pod = pod_of(deployment, (NAME, 1, REFUSED), phase="Running")
    if is_leaving:
        pod["metadata"]["deletionTimestamp"] = "2026-11-02T09:29:00Z"
    else:
        for item in pod["spec"]["containers"][0]["env"]:
            if item["name"] == "KAITO_ADAPTER_DIGEST":
                item["value"] = OLD
    found = of(lived.ask(not_ready(lived), [*lived.pods, pod]), TYPE)
    assert found[:2] == ("Unknown", "AdapterPending")


def test_new_inputs_have_no_proof_until_their_adapter_is_served(lived: Lived) -> None:
    children, status = served(lived)
    changed: dict[str, Any] = {
        "metadata": {"generation": 2},
        "tuning": {"input": {"urls": ["https://data.example/other.parquet"]}},
        "status": status,
    }
    gone = [item for item in children if item["kind"] != "Job"]
    gone = with_new_secret(lived.ask(gone, [], **changed), gone)
    checking = lived.ask(gone, [], **changed)
    assert of(checking, "InferenceReady")[0] == "True"
    assert of(checking, TYPE)[:2] == ("Unknown", "AdapterPending")
    assert f"the previous one, {DIGEST}" in of(checking, TYPE)[2]

    check = child(checking, "Job")
    done = [complete_job(check), pod_of(check, CHECKED)]
    retuning = lived.ask([*gone, done[0]], done[1:], **changed)
    assert of(retuning, TYPE)[:2] == ("Unknown", "Retuning")

    at_rest = as_observed(child(retuning, "Deployment"), status=rolled_out(0))
    resting = [*(item for item in gone if item["kind"] != "Deployment"), at_rest, done[0]]
    job = child(lived.ask(resting, done[1:], **changed), "Job")
    ended = pod_of(job, ("train", 1, {"reason": "OutOfMemory", "message": "x"}), phase="Failed")
    failed = lived.ask([*resting, failed_job(job)], [ended], **changed)
    again = as_observed(child(failed, "Deployment"), status=rolled_out(1))
    kept = [item for item in resting if item is not at_rest]
    answer = lived.ask([*kept, failed_job(job), again], [ended], **changed)
    assert of(answer, "InferenceReady")[0] == "True"
    assert of(answer, TYPE)[:2] == ("Unknown", "AdapterPending")
    assert ready(answer)[1] == "OutOfMemory"


def test_given_back_nodes_leave_what_was_said(lived: Lived) -> None:
    _, status = served(lived)
    released = {**status, "nodesReleased": {"generation": 1, "retry": "", "time": "x"}}
    for before in (("Unknown", "AdapterPending"), ("False", "AdapterInvalid")):
        conditions = [
            {**item, "status": before[0], "reason": before[1], "message": "why"}
            if item["type"] == TYPE
            else item
            for item in status["conditions"]
        ]
        answer = lived.ask(
            not_ready(lived), lived.pods, status={**released, "conditions": conditions}
        )
        assert of(answer, TYPE) == (*before, "why")
