"""The hook's command lines and the programs' argparse are one: none drifts, and no flag is there for nobody."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from kaito_hooks.workspace.api import Runtime
from kaito_hooks.workspace.children import check, inference, push_again, resources, tuning
from kaito_hooks.workspace.children.training_config import default_config
from kaito_hooks.workspace.children.workload import weights_container
from kaito_hooks.workspace.fingerprints import Identity

from tests.harness import all_pods
from tests.harness.builders import inference_workspace, merged, tuning_workspace
from tests.harness.wire import ROOT

PROGRAMS = {
    "check": "check",
    "transfer.pull": "pull",
    "tune": "train",
    "transfer.push": "push",
    "serve": "serve",
}
"""Modules, and their sections in docs/pods.md."""
BY_HAND = {
    "--help": "argparse's",
    "--max-lora-rank": "that of the adapters that are mounted is known without it",
    "--pipeline-parallel-size": "presets that span nodes are not supported yet",
    "--load_in_8bit": "Kaito's; served by whoever tunes in 8 bits",
}
DOCS = (ROOT / "docs/pods.md").read_text(encoding="utf-8")


def parser(module: str) -> ArgumentParser:
    made: ArgumentParser = importlib.import_module(f"kaito_runtime.{module}").parser()
    return made


@cache
def command_lines() -> frozenset[tuple[str, ...]]:
    """Module and arguments of every container of ours, of every preset by every method."""
    return frozenset(
        (container["command"][2].removeprefix("kaito_runtime."), *container["args"])
        for spec in (
            *every_spec(),
            *specs_with_a_data_image(),
            *specs_with_client_access(),
            spec_with_adapters(),
            spec_with_weights_of_the_hub(),
            spec_that_pushes_again(),
        )
        for container in (*spec.get("initContainers", ()), *spec["containers"])
        if container["command"][:2] == ["python", "-m"]
    )


def every_spec() -> Iterator[dict[str, Any]]:
    for preset, size, method in all_pods.cases():
        for runtime in Runtime:
            found = all_pods.PRESETS.presets[preset]
            yield from all_pods.pod_specs(found, size, method, runtime).values()


def spec_with_weights_of_the_hub() -> dict[str, Any]:
    """No preset has them today; presets.yaml may."""
    preset = all_pods.PRESETS.presets["phi-2"]
    weights = replace(
        preset.weights, image="", path="", repository="microsoft/phi-2", revision="4c"
    )
    figures = resources.of_check([])
    images = all_pods.IMAGES
    preset = replace(preset, weights=weights)
    return {"containers": [weights_container(preset, images, [], figures)]}


def spec_that_pushes_again() -> dict[str, Any]:
    workspace = all_pods.request_of(tuning_workspace()).workspace
    assert workspace.tuning
    made = push_again.push_job(workspace, workspace.tuning, all_pods.ADAPTER, all_pods.IMAGES)
    spec: dict[str, Any] = made["spec"]["template"]["spec"]
    return spec


def specs_with_a_data_image() -> Iterator[dict[str, Any]]:
    data = {"urls": None, "image": "r.example/data:1", "imagePullSecrets": ["pull"]}
    request = all_pods.request_of(merged(tuning_workspace(), {"tuning": {"input": data}}))
    workspace, images = request.workspace, request.images
    assert workspace.tuning
    inputs = tuning.Inputs(Identity("0f"), default_config("qlora"), {})
    yield tuning.tuning_job(request, all_pods.NODES, inputs)["spec"]["template"]["spec"]
    yield check.check_job(workspace, workspace.tuning, "0f", images)["spec"]["template"]["spec"]


def specs_with_client_access() -> Iterator[dict[str, Any]]:
    """By each runtime."""
    for runtime in Runtime:
        annotations = {
            "kaito.sh/runtime": runtime,
            "kaito.sh/api-keys-secret": "keys",
            "kaito.sh/requests-per-minute": "60",
            "kaito.sh/concurrent-requests": "4",
        }
        request = all_pods.request_of(inference_workspace(metadata={"annotations": annotations}))
        made = inference.preset_deployment(request, all_pods.NODES)
        yield made["spec"]["template"]["spec"]


def spec_with_adapters() -> dict[str, Any]:
    source = {"name": "tone", "image": "r.example/tone:1", "imagePullSecrets": ["pull"]}
    request = all_pods.request_of(inference_workspace(inference={"adapters": [{"source": source}]}))
    made = inference.preset_deployment(request, all_pods.NODES)
    spec: dict[str, Any] = made["spec"]["template"]["spec"]
    return spec


def test_every_command_line_of_the_hook_is_one_of_the_program() -> None:
    assert {module for module, *_ in command_lines()} == PROGRAMS.keys()
    for module, *arguments in command_lines():
        parser(module).parse_args(arguments)


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_flag_of_a_program_is_passed_by_the_hook(module: str) -> None:
    passed = {
        word.partition("=")[0]
        for each, *arguments in command_lines()
        for word in arguments
        if each == module and word.startswith("--")
    }
    assert flags(module) - passed - BY_HAND.keys() == set()


@pytest.mark.parametrize(("module", "section"), PROGRAMS.items())
def test_the_documentation_has_the_flags_of_a_program_and_no_other(
    module: str, section: str
) -> None:
    text = re.split(r"^## ", DOCS, flags=re.MULTILINE)
    (found,) = (each for each in text if each.startswith(f"{section}: "))
    assert f"`python -m kaito_runtime.{module}`" in found
    assert set(re.findall(r"--[a-z][a-z0-9_-]*", found)) == flags(module) - {"--help"}


def flags(module: str) -> set[str]:
    helps = [parser(module).format_help()]
    for kind in re.findall(r"\{([a-z,]+)\}", helps[0])[:1]:
        helps += [help_of(module, each) for each in kind.split(",")]
    return {flag for text in helps for flag in re.findall(r"--[a-z][a-z0-9_-]*", text)}


def help_of(module: str, kind: str) -> str:
    output = io.StringIO()
    with pytest.raises(SystemExit), contextlib.redirect_stdout(output):
        parser(module).parse_args([kind, "--help"])
    return output.getvalue()
