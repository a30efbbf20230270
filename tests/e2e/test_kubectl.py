"""What an owner does with kubectl, on a real API server."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.e2e.install import ROOT
from tests.e2e.real_story import RealStory
from tests.harness.builders import merged
from tests.harness.story import INFERENCE, NAME, SERVED, TUNING

EXAMPLE = ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml"
SOLD = ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3_t4.yaml"


def test_the_quick_start_prints_what_the_readme_shows(story: RealStory) -> None:
    story.apply(TUNING)
    story.becomes_ready()
    header, row = story.kubectl("get", "workspace", NAME).splitlines()
    assert header.split() == [
        "NAME",
        "INSTANCE",
        "RESOURCEREADY",
        "INFERENCEREADY",
        "WORKSPACEREADY",
        "AGE",
    ]
    assert row.split()[:5] == [NAME, "Standard_NC4as_T4_v3", "True", "True", "True"]
    header, row = story.kubectl("get", "svc", NAME).splitlines()
    assert row.split()[1] == "ClusterIP"
    assert row.split()[4] == "80/TCP,29500/TCP"


def test_the_placeholders_of_the_example_end_stalled(story: RealStory) -> None:
    story.kubectl("apply", "-f", str(EXAMPLE))
    story.says("OutputImageInvalid")
    story.kubectl("wait", f"workspace/{NAME}", "--for=condition=Stalled", "--timeout=20s")


def test_kubectl_wait_returns_when_the_workspace_is_ready(story: RealStory) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    condition = "--for=condition=WorkspaceReady"
    said = story.kubectl("wait", f"workspace/{SERVED}", condition, "--timeout=30s")
    assert said.strip() == f"workspace.kaito.sh/{SERVED} condition met"


def test_server_side_apply_owns_the_users_fields_and_nothing_else(story: RealStory) -> None:
    text = yaml.safe_dump(INFERENCE)
    apply = ("apply", "--server-side", "-f", "-")
    story.kubectl(*apply, stdin=text)
    story.nodes_come(SERVED)
    story.serves(SERVED)
    story.becomes("WorkspaceReady", SERVED)
    generation = story.get("Workspace", SERVED)["metadata"]["generation"]
    story.kubectl(*apply, stdin=text)
    assert story.get("Workspace", SERVED)["metadata"]["generation"] == generation
    shown = json.loads(
        story.kubectl("get", "workspace", SERVED, "-o", "json", "--show-managed-fields")
    )
    managers = {each["manager"] for each in shown["metadata"]["managedFields"]}
    assert "kubectl" in managers
    preferred = merged(INFERENCE, {"resource": {"preferredNodes": ["own-0"]}})
    story.kubectl(*apply, stdin=yaml.safe_dump(preferred))
    story.soon(
        lambda: story.get("Workspace", SERVED)["status"]["observedGeneration"] == generation + 1
    )
    story.becomes("WorkspaceReady", SERVED)


def test_kubectl_edit_puts_real_names_in_the_place_of_the_placeholders(story: RealStory) -> None:
    story.kubectl("apply", "-f", str(SOLD))
    story.says("OutputImageInvalid")
    story.kubectl("edit", "workspace", NAME)
    image = story.get("Workspace", NAME)["tuning"]["output"]["image"]
    assert image == "mlteam.azurecr.io/phi-3:0.0.1"
    story.becomes_ready()


def test_nodes_are_ready_and_hold_leases(story: RealStory) -> None:
    story.apply(INFERENCE)
    story.nodes_come(SERVED)
    nodes = story.kubectl("get", "nodes", "-o", "name").split()
    assert len(nodes) == 2, "the CPU node and the one of the Machine"
    leases = "get", "leases", "-n", "kube-node-lease", "-o", "name"
    story.soon(
        lambda: (
            {each.split("/")[1] for each in nodes}
            == {each.split("/")[1] for each in story.kubectl(*leases).split()}
        )
    )


def test_a_wrong_manifest_is_refused_with_words_that_help(story: RealStory) -> None:
    wrong = merged(TUNING, {"tuning": {"output": {"image": "registry.example/adapter"}}})
    words = "must be a whole reference with a tag, such as registry.example/adapter:1.0"
    with pytest.raises(AssertionError, match=words):
        story.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(wrong))
