"""A size that a message names can be had, whatever was asked for: it is sold, takes the model, and runs the images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from kaito_hooks.errors import InvalidObject
from kaito_hooks.presets import Preset
from kaito_hooks.settings import DEFAULT_COMPUTE_CAPABILITIES
from kaito_hooks.web.workspace import load_presets
from kaito_hooks.workspace import api
from kaito_hooks.workspace.fit import fit

from tests.harness.answers import child, kinds, ready
from tests.harness.builders import as_observed, inference_workspace, merged, node, tuning_workspace

PRESETS = load_presets()
SHIPPED = tuple(DEFAULT_COMPUTE_CAPABILITIES.split())
BLACKWELL, VOLTA = (*SHIPPED, "12.0"), ("7.0", "7.5")
ASKED = (
    *PRESETS.instance_types,
    *("Standard_D4s_v5", "Standard_NP20s", "Standard_NV8as_v4", "Standard_NC16ads_A10_v4"),
)


USES = [
    pytest.param(preset, use, id=f"{preset.name}, {use}")
    for preset in PRESETS.presets.values()
    for use in ("inference", "lora", "qlora")
    if not preset.distributed and (use == "inference" or preset.lora)
]
"""What may be asked for at all; anything else is refused without a word of sizes."""


def workspaces(preset: Preset, size: str, use: str) -> Iterator[dict[str, Any]]:
    choice: dict[str, Any] = {"name": preset.name, "accessMode": "public"}
    if preset.private:
        own = {"image": f"mlteam.azurecr.io/{preset.name}:1"}
        choice = {**choice, "accessMode": "private", "presetOptions": own}
    for resource in ({"instanceType": size}, {"instanceType": size, "maxHourlyCost": "4.00"}):
        if use == "inference":
            yield inference_workspace(resource=resource, inference={"preset": choice})
        else:
            yield tuning_workspace(resource=resource, tuning={"preset": choice, "method": use})


def named(workspace: dict[str, Any], capabilities: tuple[str, ...]) -> set[str]:
    """Sizes that a refusal, or the successors of a retired size, name beside the one that was asked for."""
    parsed = api.parse(workspace)
    try:
        words = fit(parsed, PRESETS, capabilities).successors
    except InvalidObject as refused:
        words = str(refused)
    return set(re.findall(r"Standard_\w+", words)) - {parsed.instance_type}


@pytest.mark.parametrize(
    "capabilities", [SHIPPED, BLACKWELL, VOLTA], ids=["shipped", "Blackwell", "Volta"]
)
@pytest.mark.parametrize(("preset", "use"), USES)
def test_only_sizes_that_can_be_had_are_named(
    preset: Preset, use: str, capabilities: tuple[str, ...]
) -> None:
    found = {
        name
        for asked in ASKED
        for workspace in workspaces(preset, asked, use)
        for name in named(workspace, capabilities)
    }
    for name in found:
        size = PRESETS.instance_types[name]
        assert not size.retired, name
        assert not size.not_suggested, name
        for workspace in workspaces(preset, name, use):
            workspace["resource"].pop("maxHourlyCost", None)
            assert fit(api.parse(workspace), PRESETS, capabilities).instance_type is size
    assert found


ALIAS, AZURE_NAME = "Standard_ND96asr_A100_v4", "Standard_ND96asr_v4"
SELECTED = {"labelSelector": {"matchLabels": {"team": "ml"}}}


@pytest.mark.parametrize("size", [ALIAS, AZURE_NAME])
def test_a_node_is_asked_for_by_the_name_that_azures_api_answers_to(sync: Any, size: str) -> None:
    workspace = inference_workspace(resource={"instanceType": size})
    service = as_observed(child(sync(workspace), "Service"))
    requirements = child(sync(workspace, [service]), "Machine")["spec"]["requirements"]
    assert [AZURE_NAME] in [requirement["values"] for requirement in requirements]


def test_nodes_of_the_azure_name_are_used_by_a_workspace_with_the_other_one(sync: Any) -> None:
    workspace = merged(inference_workspace(), {"resource": {"instanceType": ALIAS, **SELECTED}})
    labels = {
        **workspace["resource"]["labelSelector"]["matchLabels"],
        "node.kubernetes.io/instance-type": AZURE_NAME,
    }
    service = as_observed(child(sync(workspace), "Service"))
    answer = sync(workspace, [service], [node("own-0", labels)])
    assert [kind for kind, _ in kinds(answer)] == ["Deployment", "Service"], ready(answer)


def test_nodes_are_looked_for_by_the_azure_name(sync: Any) -> None:
    workspace = inference_workspace(resource={"instanceType": ALIAS})
    workspace["resource"].pop("labelSelector")
    rules = sync(workspace, route="customize")["relatedResources"]
    selectors = [rule.get("labelSelector", {}).get("matchLabels", {}) for rule in rules]
    assert {"node.kubernetes.io/instance-type": AZURE_NAME} in selectors
