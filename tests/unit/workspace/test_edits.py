"""What each edit of a tuning Workspace costs: nothing, one more attempt, or another training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app, read_presets

from tests.harness.answers import child, of, ready
from tests.harness.builders import (
    NOW,
    complete_job,
    failed_job,
    pod_of,
    request,
)
from tests.unit.workspace.test_tuning import CHECKED
from tests.unit.workspace.tuning_cluster import (
    CONFIG,
    IDLE_EDITS,
    INPUT_EDITS,
    NAME,
    OOM,
    OTHER_URL,
    OUTPUT,
    PULL_SECRET,
    PUSH_SECRET,
    SIGNED,
    URL,
    cluster,
    jobs,
    of_kind,
    raise_the_rank,
    specs,
)


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


def test_a_job_whose_pods_are_not_seen_may_be_training(sync: Any) -> None:
    seen = cluster(sync, "training")
    seen.pods = seen.pods[:1]
    seen.change(tuning=OUTPUT)
    assert NAME in jobs(seen.look())


@given(edits=st.lists(st.sampled_from(sorted(IDLE_EDITS)), min_size=1, max_size=6))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@pytest.mark.parametrize("state", ["training", "served", "failed"])
def test_no_row_of_such_edits_trains_again(sync: Any, state: str, edits: list[str]) -> None:
    seen = cluster(sync, state)
    before = hash_of(seen.look())
    for edit in edits:
        if (state, edit) != ("failed", "retry set"):
            IDLE_EDITS[edit](seen)
        answer = seen.look()
        assert hash_of(answer) == before
        assert NAME in jobs(answer)
        assert ready(answer)[1] not in ("CheckPending", "JobPending", "Retuning")


def newer_operator(presets: str, folder: Path) -> Any:
    """A hook of another version, with these presets."""
    (folder / "presets.yaml").write_text(presets, encoding="utf-8")
    app = create_workspace_app(
        WorkspaceSettings(
            preset_registry="mirror.example/kaito",
            transfer_image="ghcr.io/kaito-python/transfer:0.2.0",
            tuning_image="ghcr.io/kaito-python/tuning:0.2.0",
            inference_image="ghcr.io/kaito-python/inference:0.2.0",
            compute_capabilities=("7.5", "8.0"),
            presets_file=folder / "presets.yaml",
        ),
        now=lambda: NOW,
    )
    client = app.test_client()
    return lambda *seen: client.post("/workspace/sync", json=request(*seen)).get_json()


@pytest.mark.parametrize("state", ["training", "served", "failed"])
def test_other_images_and_another_revision_of_the_preset_train_nothing_again(
    sync: Any, state: str, tmp_path: Path
) -> None:
    seen = cluster(sync, state)
    before = seen.look()
    presets = read_presets().replace(
        "kaito-phi-3-mini-128k-instruct:0.0.1", "kaito-phi-3-mini-128k-instruct:0.0.9"
    )
    assert presets != read_presets()
    seen.sync = newer_operator(presets, tmp_path)
    answer = seen.look()
    assert of_kind(answer, "Job") == of_kind(before, "Job")
    assert of_kind(answer, "Secret") == of_kind(before, "Secret")
    assert of(answer, "TuningSucceeded") == of(before, "TuningSucceeded")
