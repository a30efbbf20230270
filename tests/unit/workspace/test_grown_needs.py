"""A release that finds a size too small for a model refuses it where nothing has begun, and nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app, read_presets

from tests.harness import wire
from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    NOW,
    as_observed,
    complete_job,
    inference_workspace,
    merged,
    ready_machine,
    request,
)
from tests.unit.workspace.test_tuning import NAME, Lived

Sync = Callable[..., dict[str, Any]]
SERVED = inference_workspace(
    resource={"instanceType": "Standard_NC4as_T4_v3"}, inference={"preset": {"name": "phi-2"}}
)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Sync:
    """The hook of a release by which phi-2, and a tuning of phi-3-mini, need more than a T4 has."""
    presets = yaml.safe_load(read_presets())
    presets["presets"]["phi-2"]["memory"]["inference"]["total"] = "40Gi"
    presets["presets"]["phi-3-mini-128k-instruct"]["qloraWorkspace"] = "40Gi"
    file: Path = tmp_path_factory.mktemp("presets") / "presets.yaml"
    file.write_text(yaml.safe_dump(presets), encoding="utf-8")
    settings = WorkspaceSettings(
        preset_registry="mcr.microsoft.com/aks/kaito",
        transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
        tuning_image="ghcr.io/kaito-python/tuning:0.1.0",
        inference_image="ghcr.io/kaito-python/inference:0.1.0",
        compute_capabilities=("7.0", "7.5", "8.0", "8.6", "8.9", "9.0"),
        presets_file=file,
    )
    hook = create_workspace_app(settings, now=lambda: NOW).test_client()

    def ask(parent: dict[str, Any], children: Any = None, related: Any = None) -> dict[str, Any]:
        body = request(parent, children, related)
        answer = hook.post("/workspace/sync", json=body)
        wire.check("/workspace/sync", body, answer.status_code, answer.data)
        return dict(json.loads(answer.data))

    return ask


def test_a_model_is_refused_before_anything_is_made(later: Sync) -> None:
    answer = later(SERVED)
    assert ready(answer)[1] == "InstanceTypeTooSmall"
    assert of(answer, "Stalled")[0] == "True"
    assert kinds(answer) == []


def test_a_model_that_is_served_goes_on_as_it_is(sync: Sync, later: Sync) -> None:
    machine = ready_machine(SERVED, "ws1")
    asked = child(sync(SERVED, [machine]), "Deployment")
    children = [machine, as_observed(asked)]
    before, after = sync(SERVED, children), later(SERVED, children)
    assert child(after, "Deployment") == child(before, "Deployment") == asked
    assert after["status"] == before["status"]
    assert "Stalled" not in {each["type"] for each in after["status"]["conditions"]}


def test_a_node_that_was_made_for_a_model_gets_its_pod(later: Sync) -> None:
    """Where it does not suffice, the pod ends as OutOfMemory and the Workspace says so."""
    answer = later(SERVED, [ready_machine(SERVED, "ws1")])
    assert ("Deployment", SERVED["metadata"]["name"]) in kinds(answer)


def test_a_training_that_runs_goes_on(sync: Sync, later: Sync) -> None:
    lived = Lived(sync)
    children = [*lived.with_node, as_observed(lived.job)]
    before = lived.ask(children, lived.pods)
    after = later(lived.parent, children, lived.pods)
    assert after == before
    assert child(after, "Job")["metadata"]["name"] == NAME


def test_an_adapter_that_was_pushed_is_served(sync: Sync, later: Sync) -> None:
    lived = Lived(sync)
    children = [*lived.with_node, complete_job(lived.job)]
    answer = later(lived.parent, children, lived.pods)
    assert ("Deployment", NAME) in kinds(answer)
    assert answer == lived.ask(children, lived.pods)


def test_a_training_of_other_inputs_is_refused_and_the_children_stay(
    sync: Sync, later: Sync
) -> None:
    lived = Lived(sync)
    children = [*lived.with_node, complete_job(lived.job)]
    other = merged(
        lived.parent, {"tuning": {"input": {"urls": ["https://data.example/y.parquet"]}}}
    )
    answer = later(other, children, lived.pods)
    assert ready(answer)[1] == "InstanceTypeTooSmall"
    assert sorted(kinds(answer)) == sorted(kinds({"children": children}))


def test_a_node_that_was_made_for_a_training_gets_its_job(sync: Sync, later: Sync) -> None:
    """The Job ends as OutOfMemory where it does not suffice, and the node is given back."""
    lived = Lived(sync)
    assert ("Job", NAME) in kinds(later(lived.parent, lived.with_node, [lived.check_pod]))
    assert ready(later(lived.parent, lived.checked, [lived.check_pod]))[1] == "InstanceTypeTooSmall"
