"""Every manifest in examples/ is accepted as it is, and goes as far as it can without its owner's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito_hooks.web.workspace import load_presets
from kaito_hooks.workspace.api import DEFAULT_INSTANCE_TYPE

from tests.harness.story import IMAGE, Story
from tests.harness.wire import ROOT

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
QUICK_START = ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml"
SOLD = ROOT / "examples/fine-tuning/kaito_workspace_tuning_phi_3_t4.yaml"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_accepted_and_goes_on(story: Story, path: Path) -> None:
    (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    name = document["metadata"]["name"]
    story.apply(path)
    if "ACR_REPO_HERE" in path.read_text(encoding="utf-8"):
        story.says("OutputImageInvalid", name)
        assert story.machines() == []
    elif "tuning" in document:
        story.check_succeeds(name)
        story.nodes_come(name)
    else:
        story.nodes_come(name)
        if document["inference"]["preset"].get("accessMode") != "private":
            story.serves(name)
            story.becomes("WorkspaceReady", name)
        assert len(story.machines()) == document["resource"].get("count", 1)


def with_names(path: Path) -> dict[str, Any]:
    """The manifest with a registry in the place of the placeholders."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["tuning"]["output"] = {"image": IMAGE, "imagePushSecret": "acr-push"}
    return dict(document)


def test_the_quick_start_says_that_its_size_is_retired_and_buys_nothing(story: Story) -> None:
    story.apply(with_names(QUICK_START))
    message = story.says("InstanceTypeRetired")
    assert "Azure retired Standard_NC6s_v3 on 2025-09-30" in message
    assert "'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB)" in message
    story.let_resyncs_pass()
    assert (story.machines(), story.pools(), story.azure.count("PUT")) == ([], [], 0)
    story.deleted()


def test_the_quick_start_goes_on_with_a_node_of_that_size(story: Story) -> None:
    story.apply(with_names(QUICK_START))
    story.says("InstanceTypeRetired")
    labels = {"app": "tuning-phi-3", "node.kubernetes.io/instance-type": "Standard_NC6s_v3"}
    story.add_node("own-0", gpus=1, labels=labels)
    story.becomes_ready()
    assert story.machines() == []


def test_the_sibling_of_the_quick_start_differs_in_the_size_and_becomes_ready(story: Story) -> None:
    quick, sold = with_names(QUICK_START), with_names(SOLD)
    assert sold["resource"].pop("instanceType") == "Standard_NC4as_T4_v3"
    assert quick["resource"].pop("instanceType") == "Standard_NC6s_v3"
    assert quick == sold
    story.apply(with_names(SOLD))
    story.becomes_ready()


def test_no_other_example_names_a_size_that_is_retired() -> None:
    sizes = load_presets().instance_types
    for path in EXAMPLES:
        if path != QUICK_START:
            (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
            assert not sizes[document["resource"]["instanceType"]].retired, path
    assert not sizes[DEFAULT_INSTANCE_TYPE].retired
