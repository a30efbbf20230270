"""An operator upgrade trains nothing again: children as the version wrote them whose fingerprint covered more."""

from __future__ import annotations

import copy
import json
from pathlib import Path
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
)
from tests.unit.workspace.test_tuning import CHECKED, NAME, PUSHED, TRAINED, rolled_out

GOLDEN = json.loads(
    (Path(__file__).parent / "golden/before_tuning_inputs.json").read_text(encoding="utf-8")
)
CONFIG = (
    "# ours\ntraining_config:\n  QuantizationConfig: {load_in_4bit: true}\n  LoraConfig: {r: 4}\n"
)
TIDIED = CONFIG.replace("# ours\n", "")
PULLED: Any = (("weights", 0, {}), ("data", 0, {}))
OOM = ("train", 1, {"reason": "OutOfMemory", "message": "x"})


class Cluster:
    """The children that the version before left, and what this version says of them."""

    def __init__(self, sync: Any, state: str) -> None:
        seen = copy.deepcopy(GOLDEN["failed after a retry" if state == "failed" else "served"])
        self.sync, self.parent, self.config = sync, seen["parent"], CONFIG
        made = {name: as_observed(item) for name, item in seen["children"].items()}
        check, job = made.pop(f"Job/{NAME}-check"), made.pop(f"Job/{NAME}")
        deployment = made.pop(f"Deployment/{NAME}", None)
        self.children = [*made.values(), complete_job(seen["children"][f"Job/{NAME}-check"])]
        bare = seen["children"][f"Job/{NAME}"]
        self.pods = [pod_of(check, CHECKED)]
        if state == "failed":
            self.children += [failed_job(bare)]
            self.pods += [pod_of(job, *PULLED, OOM, phase="Failed")]
            return
        machine = child(sync_before(sync, self), "Machine")
        self.children += [ready_machine(self.parent, machine["metadata"]["name"])]
        if state == "served":
            assert deployment is not None
            self.children += [complete_job(bare), merged(deployment, {"status": rolled_out(1)})]
            self.pods += [pod_of(job, *PULLED, TRAINED, PUSHED)]
        if state == "training":
            self.parent.pop("status")
            self.children += [as_observed(bare, status={"active": 1})]
            pod = pod_of(job, *PULLED, phase="Pending")
            pod["status"]["initContainerStatuses"].append(
                {"name": "train", "state": {"running": {"startedAt": "2026-11-02T09:20:00Z"}}}
            )
            self.pods += [pod]

    def look(self) -> dict[str, Any]:
        """The answer, with its status and its Secret written back."""
        related = [config_map("params", self.config), *self.pods]
        answer: dict[str, Any] = self.sync(self.parent, self.children, related)
        self.parent = {**self.parent, "status": answer["status"]}
        others = [item for item in self.children if item["kind"] != "Secret"]
        self.children = [as_observed(child(answer, "Secret")), *others]
        return answer


def sync_before(sync: Any, seen: Cluster) -> dict[str, Any]:
    """An answer that names the Machine."""
    answer: dict[str, Any] = sync(
        seen.parent, seen.children, [config_map("params", CONFIG), *seen.pods]
    )
    return answer


def of_kind(items: Any, kind: str) -> list[Any]:
    return [item for item in items if item["kind"] == kind]


def job_of(answer: dict[str, Any]) -> dict[str, Any]:
    return next(j for j in of_kind(answer["children"], "Job") if j["metadata"]["name"] == NAME)


STATES = ["served", "training", "failed"]


@pytest.mark.parametrize("state", STATES)
def test_an_upgrade_changes_no_job_no_pod_and_no_condition(sync: Any, state: str) -> None:
    seen = Cluster(sync, state)
    for _ in range(3):
        answer = seen.look()
    golden = GOLDEN["failed after a retry" if state == "failed" else "served"]
    children = golden["children"]
    assert job_of(answer) == children[f"Job/{NAME}"]
    assert children[f"Job/{NAME}-check"] in answer["children"]
    assert child(answer, "Secret")["data"] == children[f"Secret/{NAME}-config"]["data"]
    if state == "served":
        assert child(answer, "Deployment")["spec"] == children[f"Deployment/{NAME}"]["spec"]
    if state != "training":
        types = ("Ready", "TuningSucceeded", "InputsChecked")
        before = {"status": golden["parent"]["status"]}
        assert [of(answer, type_) for type_ in types] == [of(before, type_) for type_ in types]


@pytest.mark.parametrize("edit", ["comment", "output", "retry removed", "Secret renamed", "retry"])
@pytest.mark.parametrize("state", STATES)
def test_what_was_recognised_once_stays_recognised(sync: Any, state: str, edit: str) -> None:
    seen = Cluster(sync, state)
    before = seen.look()
    if edit == "comment":
        seen.config = TIDIED
    if edit == "output":
        other = {"output": {"image": "mlteam.azurecr.io/adapters/phi-3:0.0.2"}}
        seen.parent = merged(seen.parent, {"tuning": other})
    if edit == "Secret renamed":
        seen.parent = merged(seen.parent, {"tuning": {"input": {"imagePullSecrets": ["other"]}}})
    if edit == "retry removed":
        seen.parent = merged(seen.parent, {"metadata": {"annotations": {"kaito.sh/retry": None}}})
    if edit == "retry":
        seen.parent = merged(seen.parent, {"metadata": {"annotations": {"kaito.sh/retry": "9"}}})
    answer = seen.look()
    if (state, edit) == ("failed", "retry"):
        assert of_kind(answer["children"], "Job") == []
        return
    assert job_of(answer) == job_of(before)
    if (state, edit) == ("served", "output"):
        assert ready(answer)[1] == "PushPending"
    else:
        assert ready(answer)[:2] == ready(before)[:2]


def test_an_upgrade_notices_inputs_that_changed(sync: Any) -> None:
    seen = Cluster(sync, "served")
    seen.look()
    seen.config = CONFIG.replace("r: 4", "r: 8")
    answer = seen.look()
    assert "Job" not in dict(kinds(answer))
    assert "`LoraConfig.r` of training_config.yaml from 4 to 8" in ready(answer)[2]
