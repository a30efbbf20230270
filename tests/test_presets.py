from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from kaito_hooks.errors import InvalidPresets
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import parse_presets
from kaito_hooks.web.workspace import load_presets, read_presets


def broken(change: Callable[[dict[str, Any]], None]) -> str:
    document = yaml.safe_load(read_presets())
    change(document)
    return yaml.safe_dump(document)


ROWS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    (
        "an amount without a unit",
        lambda d: d["presets"]["falcon-40b"].update(disk="400"),
        "presets.falcon-40b.disk: '400'",
    ),
    (
        "a decimal unit",
        lambda d: d["presets"]["phi-2"]["memory"]["inference"].update(total="12G"),
        "presets.phi-2.memory.inference.total",
    ),
    (
        "an unknown key",
        lambda d: d["presets"]["phi-2"].update(gpu=1),
        "presets.phi-2: Additional properties",
    ),
    (
        "a missing key",
        lambda d: d["presets"]["phi-2"].pop("gpus"),
        "presets.phi-2: 'gpus' is a required property",
    ),
    (
        "weights without a path",
        lambda d: d["presets"]["phi-2"]["weights"].pop("path"),
        "presets.phi-2.weights",
    ),
    (
        "a size without its processors",
        lambda d: d["instanceTypes"]["Standard_NC4as_T4_v3"].pop("vcpus"),
        "instanceTypes.Standard_NC4as_T4_v3: 'vcpus' is a required property",
    ),
    (
        "a price that is no number",
        lambda d: d["instanceTypes"]["Standard_NC6"].update(hourlyCost="cheap"),
        "instanceTypes.Standard_NC6.hourlyCost",
    ),
    (
        "a successor that does not exist",
        lambda d: d["instanceTypes"]["Standard_NC6"]["retired"].update(successors=["Standard_X"]),
        "'Standard_X' is not in instanceTypes",
    ),
]


@pytest.mark.parametrize(("what", "change", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_a_mistake_is_told_with_its_path(
    what: str, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    with pytest.raises(InvalidPresets) as refused:
        parse_presets(broken(change))
    assert words in str(refused.value)


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidPresets, match="the key 'gpus' is there twice"):
        parse_presets(read_presets().replace("    gpus: 1\n", "    gpus: 1\n    gpus: 2\n", 1))


def test_kaitos_17_presets_and_38_sizes_are_there() -> None:
    presets = load_presets()
    assert len([name for name in presets.presets if name != "tiny-demo"]) == 17
    assert len(presets.instance_types) == 38
    assert presets.tunable() == [
        "falcon-40b",
        "falcon-7b",
        "mistral-7b",
        "phi-2",
        "phi-3-medium-128k-instruct",
        "phi-3-medium-4k-instruct",
        "phi-3-mini-128k-instruct",
        "phi-3-mini-4k-instruct",
        "tiny-demo",
    ]


@pytest.mark.parametrize(
    ("preset", "lora", "inference"),
    [
        ("phi-3-mini-128k-instruct", 72, 9),
        ("phi-3-medium-4k-instruct", 80, 28),
        ("mistral-7b", 16, 14),
    ],
)
def test_the_numbers_that_kaito_corrected_are_the_corrected_ones(
    preset: str, lora: int, inference: int
) -> None:
    found = load_presets().presets[preset]
    assert found.lora
    assert (found.lora.total, found.inference.total) == (lora * GIB, inference * GIB)


def test_qlora_needs_less_than_lora_wherever_both_are_there() -> None:
    for preset in load_presets().presets.values():
        assert (preset.lora is None) == (preset.qlora is None)
        if preset.lora and preset.qlora:
            assert preset.qlora.total <= preset.lora.total
