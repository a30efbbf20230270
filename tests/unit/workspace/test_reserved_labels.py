"""Labels that AKS keeps for itself are told by name before a node is asked for, unless a node has them already."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import kinds, of, ready
from tests.harness.builders import inference_workspace, merged, node, tuning_workspace


def selecting(workspace: dict[str, Any], **labels: str) -> dict[str, Any]:
    return merged(workspace, {"resource": {"labelSelector": {"matchLabels": labels}}})


@pytest.mark.parametrize("name", ["agentpool", "accelerator", "storageprofile", "storagetier"])
@pytest.mark.parametrize("workspace", [inference_workspace(), tuning_workspace()])
def test_a_label_of_aks_is_refused_by_name(sync: Any, workspace: dict[str, Any], name: str) -> None:
    answer = sync(selecting(workspace, **{name: "nvidia"}))
    assert ready(answer)[:2] == ("False", "LabelReserved")
    assert f"the label '{name}', which AKS sets itself" in ready(answer)[2]
    assert f"'app: {workspace['metadata']['name']}'" in ready(answer)[2]
    assert of(answer, "Stalled")[1] == "LabelReserved"
    assert kinds(answer) == []


def test_several_are_named_together(sync: Any) -> None:
    answer = sync(selecting(inference_workspace(), agentpool="a", accelerator="nvidia"))
    assert "the labels 'accelerator', 'agentpool', which AKS" in ready(answer)[2]


def test_a_node_that_carries_it_is_used(sync: Any) -> None:
    workspace = selecting(inference_workspace(), accelerator="nvidia")
    labels = workspace["resource"]["labelSelector"]["matchLabels"]
    size = {"node.kubernetes.io/instance-type": workspace["resource"]["instanceType"]}
    own = node("own-0", {**labels, **size})
    answer = sync(workspace, related=[own])
    assert ready(answer)[1] != "LabelReserved"
    assert "Machine" not in {kind for kind, _ in kinds(answer)}
