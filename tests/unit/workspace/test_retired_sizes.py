"""A size that Azure has retired is told with the successors that fit, unless there is a node of it already."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import Memory
from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app, load_presets
from kaito_hooks.workspace.pod_memory import PresetNeed, Use
from kaito_hooks.workspace.sizes import Demand, successors

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    HASH_OF_ADAPTER,
    as_observed,
    condition,
    inference_workspace,
    machine,
    merged,
    node,
    ready_machine,
    request,
    tuning_workspace,
)

RETIRED = "Standard_NC6s_v3"
BYPASS = {"metadata": {"annotations": {"kaito.sh/bypass-resource-checks": "true"}}}


SOLD_NOWHERE = (
    *("NC6", "NC12", "NC24", "NC24r", "NV6", "NV12", "NV24", "ND6s", "ND12s", "ND24s", "ND24rs"),
    *("NC6s_v2", "NC12s_v2", "NC24s_v2", "NC24rs_v2"),
)
"""Without a price in any of 57 regions: Azure/karpenter-provider-azure@352646f zz_generated.pricing.go."""


def tuning(**changes: Any) -> dict[str, Any]:
    return merged(tuning_workspace(resource={"instanceType": RETIRED}), changes)


def inference(size: str = "Standard_NC12s_v3", **changes: Any) -> dict[str, Any]:
    return merged(inference_workspace(resource={"instanceType": size}), changes)


def node_of(workspace: dict[str, Any], **changes: Any) -> dict[str, Any]:
    resource = workspace["resource"]
    size = {"node.kubernetes.io/instance-type": resource["instanceType"]}
    return node("own-0", {**resource["labelSelector"]["matchLabels"], **size}, **changes)


@pytest.mark.parametrize(
    ("workspace", "words"),
    [
        (
            tuning(),
            "Azure retired Standard_NC6s_v3 on 2025-09-30, so that no node of it can be made. Create the Workspace "
            "with `resource.instanceType` 'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB) or "
            "'Standard_NC24ads_A100_v4' (1 A100 GPU with 80 GiB). ",
        ),
        (tuning(), "kubectl annotate workspace workspace-tuning-phi-3 -n ml-team kaito.sh/bypass"),
        (inference(), "'Standard_NC64as_T4_v3' (4 T4 GPUs with 16 GiB each)"),
        (
            inference(
                "Standard_NC24s_v3", inference={"preset": {"name": "phi-3-medium-4k-instruct"}}
            ),
            "'Standard_NC64as_T4_v3' (4 T4 GPUs with 16 GiB each) or 'Standard_NC48ads_A100_v4'",
        ),
        (
            merged(
                tuning(),
                {
                    "resource": {"instanceType": "Standard_NC12s_v3"},
                    "tuning": {"preset": {"name": "phi-2"}},
                },
            ),
            "`resource.instanceType` 'Standard_NC24ads_A100_v4' (1 A100 GPU with 80 GiB) or 'Standard_NC64as_T4_v3'",
        ),
    ],
)
def test_it_is_refused_before_anything_is_made(
    sync: Any, workspace: dict[str, Any], words: str
) -> None:
    answer = sync(workspace)
    assert ready(answer)[:2] == ("False", "InstanceTypeRetired")
    assert words in ready(answer)[2]
    assert of(answer, "Stalled")[1] == "InstanceTypeRetired"
    assert kinds(answer) == []


@pytest.mark.parametrize(
    ("gibibytes", "lowest", "words"),
    [
        (7, (7, 0), "'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB) or 'Standard_NC24ads_A100_v4'"),
        (72, (7, 0), "'Standard_NC24ads_A100_v4' (1 A100 GPU with 80 GiB)"),
        (7, (8, 0), "'Standard_NC24ads_A100_v4' (1 A100 GPU with 80 GiB)"),
        (90, (7, 0), "'Standard_NC40ads_H100_v5' (1 H100 GPU with 94 GiB)"),
        (2000, (7, 0), "of a larger size; none that is known is large enough"),
    ],
)
def test_a_successor_that_does_not_fit_is_not_named(
    gibibytes: int, lowest: tuple[int, int], words: str
) -> None:
    presets = load_presets()
    preset = presets.presets["phi-3-mini-128k-instruct"]
    asks = replace(preset, parameters=1, lora=Memory(gibibytes * GIB))
    demand = Demand(asks, [PresetNeed(asks, Use.LORA)], lowest=lowest, highest=(9, 0))
    assert successors(demand, presets.instance_types[RETIRED], presets).startswith(words)


def test_the_fifteen_sizes_that_no_region_sells_are_those_retired_in_2023() -> None:
    sizes = load_presets().instance_types.values()
    in_2023 = {size.name for size in sizes if size.retired.startswith("2023")}
    assert in_2023 == {f"Standard_{name}" for name in SOLD_NOWHERE}


def test_a_retired_size_has_a_successor_that_is_not_retired() -> None:
    sizes = load_presets().instance_types
    for size in sizes.values():
        assert not any(sizes[name].retired for name in size.successors), size.name


def test_placeholders_come_before_the_size(sync: Any) -> None:
    image = "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"
    assert ready(sync(tuning(tuning={"output": {"image": image}})))[1] == "OutputImageInvalid"


@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (datetime(2025, 9, 30, 23, 59, tzinfo=UTC), "CheckPending"),
        (datetime(2025, 10, 1, tzinfo=UTC), "InstanceTypeRetired"),
    ],
)
def test_a_size_goes_on_until_the_day_of_its_retirement(moment: datetime, reason: str) -> None:
    settings = WorkspaceSettings(
        preset_registry="mcr.microsoft.com/aks/kaito",
        transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
        tuning_image="ghcr.io/kaito-python/tuning:0.1.0",
        inference_image="ghcr.io/kaito-python/inference:0.1.0",
        compute_capabilities=("7.0",),
    )
    hook = create_workspace_app(settings, now=lambda: moment).test_client()
    answer = hook.post("/workspace/sync", json=request(tuning())).get_json()
    assert ready(answer)[1] == reason


@pytest.mark.parametrize(
    ("what", "goes_on"),
    [
        ("a node of one's own", True),
        ("a node of another size", False),
        ("a node without the labels", False),
        ("the annotation", True),
        ("a Machine that is there", True),
        ("a Machine that is being deleted", True),
    ],
)
def test_a_node_that_is_there_is_used(sync: Any, what: str, goes_on: bool) -> None:
    workspace = inference()
    children: list[dict[str, Any]] = []
    related: list[dict[str, Any]] = []
    match what:
        case "a node of one's own":
            related = [node_of(workspace)]
        case "a node of another size":
            related = [node_of(inference("Standard_NC24s_v3"))]
        case "a node without the labels":
            related = [node("own-0", {"node.kubernetes.io/instance-type": "Standard_NC12s_v3"})]
        case "the annotation":
            workspace = merged(workspace, BYPASS)
        case "a Machine that is there":
            children = [ready_machine(workspace, "ws1")]
        case "a Machine that is being deleted":
            gone = {"metadata": {"deletionTimestamp": "2026-11-02T09:00:00Z"}}
            children = [machine(workspace, "ws1", **gone)]
    answer = sync(workspace, children, related)
    assert (ready(answer)[1] != "InstanceTypeRetired") == goes_on, ready(answer)


def test_what_has_ended_stays_ended(sync: Any) -> None:
    """The adapter is pushed, the nodes are given back: the size does not matter any more."""
    workspace = tuning(tuning={"serve": False})
    sold = merged(workspace, {"resource": {"instanceType": "Standard_NC4as_T4_v3"}})
    wanted = child(sync(sold), "Secret")["metadata"]["annotations"]["kaito.sh/tuning-hash"]
    adapter = {
        "hash": wanted,
        "image": "mlteam.azurecr.io/adapters/phi-3:0.0.1",
        "digest": HASH_OF_ADAPTER,
    }
    answer = sync(merged(workspace, {"status": {"tuning": adapter}}))
    assert ready(answer)[0] == "True"


def test_a_served_model_stays_as_it_is(sync: Any) -> None:
    workspace = inference()
    made = [ready_machine(workspace, "ws1")]
    asked = child(sync(workspace, made), "Deployment")
    answer = sync(workspace, [as_observed(asked)])
    assert ready(answer)[1] != "InstanceTypeRetired"
    assert child(answer, "Deployment")["metadata"]["name"] == workspace["metadata"]["name"]


def test_a_machine_that_will_never_come_is_told_with_the_successors_that_fit(sync: Any) -> None:
    workspace = inference("Standard_NC6s_v3", inference={"preset": {"name": "phi-2"}})
    refused = condition(
        "Ready", "False", "SkuNotAvailable", "the size is not offered in westeurope"
    )
    stalled = condition("Stalled", "True", "SkuNotAvailable")
    broken = machine(workspace, "ws1", status={"conditions": [refused, stalled]})
    answer = sync(workspace, [broken])
    assert ready(answer)[1] == "SkuNotAvailable"
    message = ready(answer)[2]
    assert "the size is not offered in westeurope. Azure retired Standard_NC6s_v3" in message
    assert "create the Workspace with `resource.instanceType` 'Standard_NC4as_T4_v3' (1" in message
    assert of(answer, "Stalled")[0] == "True"
