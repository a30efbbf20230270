"""The figures in docs/pods.md and docs/operations.md are those of the pods."""

from __future__ import annotations

from fractions import Fraction

import pytest

from kaito_hooks.kube.quantities import GIB
from kaito_hooks.workspace.children import resources, volumes
from kaito_laptop.core import quantities

from tests.harness.all_pods import PRESETS, effective, pod_specs
from tests.harness.documented import quota as documented_quota
from tests.harness.wire import ROOT

PAGE = (ROOT / "docs/pods.md").read_text(encoding="utf-8").partition("## Requests and limits")[2]
PAGE_TEXT = " ".join(PAGE.split())
ROOMY = "Standard_NC96ads_A100_v4"
"""A size whose node bounds nothing."""


def gib(amount: Fraction | int) -> str:
    return str(Fraction(amount) / GIB)


def figures(name: str) -> str:
    """The row of a preset: memory served, tuned with lora and qlora; disk requested, served and tuned."""
    preset = PRESETS.presets[name]
    served = pod_specs(preset, ROOMY, "")["serve"]
    cells = [f"`{name}`", gib(effective(served, "requests")["memory"])]
    for method in ("lora", "qlora"):
        tuned = pod_specs(preset, ROOMY, method).get("tune")
        both = (
            [gib(effective(tuned, which)["memory"]) for which in ("requests", "limits")]
            if tuned
            else []
        )
        cells.append(", ".join(both) or "-")
    disk = [effective(served, which)["ephemeral-storage"] for which in ("requests", "limits")]
    cells += [gib(disk[0]), gib(disk[1])]
    tuned = pod_specs(preset, ROOMY, "qlora").get("tune")
    cells.append(gib(effective(tuned, "limits")["ephemeral-storage"]) if tuned else "-")
    return f"| {' | '.join(cells)} |"


def test_the_documentation_has_the_figures_of_each_preset() -> None:
    rows = [figures(name) for name, each in PRESETS.presets.items() if not each.distributed]
    assert [row for row in rows if row not in PAGE] == []


@pytest.mark.parametrize(
    ("term", "amount"),
    [
        ("engine", resources.ENGINE_BYTES),
        ("`/dev/shm`", volumes.SHARED_MEMORY_BYTES),
        ("adapter in memory", resources.ADAPTER_MEMORY_BYTES),
        ("further processes", resources.PROCESS_BYTES),
        ("rows in memory", resources.DATA_MEMORY_BYTES),
        ("`data`", volumes.DATA_BYTES),
        ("`results`, `adapters`", volumes.ADAPTER_BYTES),
        ("`scratch`", volumes.SCRATCH_BYTES),
        ("logs", resources.LOGS_BYTES),
    ],
)
def test_the_documentation_has_each_term(term: str, amount: int) -> None:
    assert f"| {term} | {gib(amount)} GiB |" in PAGE


def test_the_documentation_has_the_figures_of_the_check_and_of_processors() -> None:
    check = pod_specs(PRESETS.presets["phi-2"], ROOMY, "lora")["check"]["containers"][0][
        "resources"
    ]
    for which in ("requests", "limits"):
        amounts = check[which]
        words = f"{which} `cpu: {amounts['cpu']}`, `memory: {amounts['memory']}`"
        assert f"{words}, `ephemeral-storage: {amounts['ephemeral-storage']}`" in PAGE_TEXT
    assert f"`requests.cpu` is {resources.GPU_POD_MILLICORES // 1000}" in PAGE_TEXT
    assert f"{resources.MILLICORES_PER_GPU // 1000} for each GPU" in PAGE_TEXT


def test_the_quota_in_the_documentation_is_what_a_workspace_needs_at_once() -> None:
    specs = pod_specs(
        PRESETS.presets["phi-3-mini-128k-instruct"], "Standard_NC24ads_A100_v4", "qlora"
    )
    expected = {"pods": Fraction(2), "requests.nvidia.com/gpu": Fraction(1)}
    for which in ("requests", "limits"):
        check, tune, serve = (effective(specs[what], which) for what in ("check", "tune", "serve"))
        for resource, amount in check.items():
            expected[f"{which}.{resource}"] = amount + max(tune[resource], serve[resource])
    found = {resource: quantities.parse(amount) for resource, amount in documented_quota().items()}
    assert found == expected
