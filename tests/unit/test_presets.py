from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from kaito_hooks.errors import InvalidPresets
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import parse_presets
from kaito_hooks.web.workspace import load_presets, read_presets
from kaito_hooks.workspace.pod_memory import PresetNeed, Use
from kaito_runtime.demo.make import SHAPE


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
        "a network without its layers",
        lambda d: d["presets"]["phi-2"]["network"].pop("layers"),
        "presets.phi-2.network: 'layers' is a required property",
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
    (
        "a region in Azure's other spelling",
        lambda d: d["instanceTypes"]["Standard_NC6"].update(priceRegion="East US 2"),
        "instanceTypes.Standard_NC6.priceRegion: 'East US 2'",
    ),
    (
        "another name of a size that does not exist",
        lambda d: d["instanceTypeAliases"].update(Standard_Y="Standard_X"),
        "instanceTypeAliases.Standard_Y: 'Standard_X' is not in instanceTypes",
    ),
    (
        "another name that is a size itself",
        lambda d: d["instanceTypeAliases"].update(Standard_NC6="Standard_NC12"),
        "instanceTypeAliases.Standard_NC6: is in instanceTypes, too",
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


KAITOS_PRESETS = {
    "falcon-40b",
    "falcon-40b-instruct",
    "falcon-7b",
    "falcon-7b-instruct",
    "llama-2-13b",
    "llama-2-13b-chat",
    "llama-2-70b",
    "llama-2-70b-chat",
    "llama-2-7b",
    "llama-2-7b-chat",
    "mistral-7b",
    "mistral-7b-instruct",
    "phi-2",
    "phi-3-medium-128k-instruct",
    "phi-3-medium-4k-instruct",
    "phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct",
}
"""The presets of Kaito v0.3.0 (kaito-project/kaito@v0.3.0 presets/models/supported_models.yaml)."""
TUNED_BY_KAITO = {
    "falcon-40b",
    "falcon-7b",
    "mistral-7b",
    "phi-2",
    "phi-3-medium-128k-instruct",
    "phi-3-medium-4k-instruct",
    "phi-3-mini-128k-instruct",
    "phi-3-mini-4k-instruct",
}


def test_each_preset_of_kaito_is_there_and_tuned_where_kaito_tunes_it() -> None:
    presets = load_presets()
    assert set(presets.presets) >= KAITOS_PRESETS
    assert KAITOS_PRESETS & set(presets.tunable()) == TUNED_BY_KAITO


@pytest.mark.parametrize(
    ("preset", "lora", "inference"),
    [
        ("phi-3-mini-128k-instruct", 72, 9),
        ("phi-3-medium-4k-instruct", 79, 28),
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
        if preset.lora:
            quantised, whole = (PresetNeed(preset, use).spread(1) for use in (Use.QLORA, Use.LORA))
            assert quantised.per_gpu < whole.per_gpu, preset.name


KAITO = (
    *("NC24ads_A100_v4", "NC48ads_A100_v4", "NC96ads_A100_v4", "ND96asr_A100_v4", "ND96asr_v4"),
    *("ND96amsr_A100_v4", "NV36ads_A10_v5", "NV72ads_A10_v5", "NC40ads_H100_v5", "NC64as_T4_v3"),
    *("NC80adis_H100_v5", "NCC40ads_H100_v5", "ND96isr_H100_v5", "ND96isr_H200_v5", "ND40rs_v2"),
)
"""NVIDIA sizes of Kaito v0.12.0 pkg/sku/azure_sku_handler.go, and three of v0.3.0 that Azure still sells."""


@pytest.mark.parametrize("size", KAITO)
def test_a_size_that_kaito_knows_is_known_and_sold(size: str) -> None:
    presets = load_presets()
    found = presets.instance_types[presets.api_name(f"Standard_{size}")]
    assert not found.retired


def test_the_memory_of_a_size_is_that_of_its_gpus() -> None:
    """Figures of one model differ by what Azure sells of it: shares of an A10, and two kinds of A100 and H100."""
    found: dict[str, set[int]] = {}
    for size in load_presets().instance_types.values():
        assert size.memory == size.memory_per_gpu * size.gpus
        found.setdefault(size.gpu, set()).add(size.memory_per_gpu // GIB)
    assert found == {
        "K80": {12},
        "M60": {8},
        "P40": {24},
        "P100": {16},
        "V100": {16},
        "V100-32G": {32},
        "T4": {16},
        "A10": {4, 8, 12, 24},
        "A100": {40, 80},
        "H100": {80, 94},
        "H200": {141},
        "RTX PRO 6000": {96},
    }


def test_a_gpu_reports_less_memory_than_its_name_says() -> None:
    for size in load_presets().instance_types.values():
        assert 0.9 < size.usable_per_gpu / size.memory_per_gpu < 1.0, size.name


def test_a_share_of_a_gpu_has_the_memory_of_the_share() -> None:
    """Azure sells a sixth, a third and half of an A10 (sizes/gpu-accelerated/nvadsa10v5-series.md)."""
    sizes = load_presets().instance_types
    shares = {
        f"Standard_NV{vcpus}ads_A10_v5": memory for vcpus, memory in ((6, 4), (12, 8), (18, 12))
    }
    assert {name: sizes[name].memory_per_gpu // GIB for name in shares} == shares


def test_a_price_of_another_region_is_marked_as_one() -> None:
    sizes = load_presets().instance_types.values()
    elsewhere = {size.name: size.price_region for size in sizes if size.price_region != "eastus"}
    assert elsewhere == {
        "Standard_NCC40ads_H100_v5": "eastus2",
        "Standard_ND96isr_H200_v5": "eastus2",
    }


def test_the_network_of_each_public_preset_is_known() -> None:
    for preset in load_presets().presets.values():
        assert (preset.network is None) == preset.private, preset.name
        if preset.network:
            assert preset.network.heads % preset.network.key_value_heads == 0


@pytest.mark.parametrize(
    ("preset", "gpus", "kib"),
    [
        # vLLM and Kaito v0.12 come to the same figures for keys and values of a token in 16 bits.
        ("falcon-7b", 1, 8),
        ("falcon-40b", 1, 120),
        ("falcon-40b", 2, 60),
        ("mistral-7b", 1, 128),
        ("phi-2", 1, 320),
        ("phi-3-mini-4k-instruct", 1, 384),
        ("phi-3-medium-128k-instruct", 1, 200),
    ],
)
def test_keys_and_values_of_a_token_take_what_others_count(
    preset: str, gpus: int, kib: int
) -> None:
    network = load_presets().presets[preset].network
    assert network
    assert network.cache_bytes(gpus, bits=16) == kib << 10


def test_the_network_of_the_demo_is_the_one_that_it_makes() -> None:
    network = load_presets().presets["tiny-demo"].network
    assert network
    assert (network.layers, network.heads, network.key_value_heads, network.context) == (
        SHAPE["num_hidden_layers"],
        SHAPE["num_attention_heads"],
        SHAPE["num_key_value_heads"],
        SHAPE["max_position_embeddings"],
    )
    assert network.head_size * network.heads == SHAPE["hidden_size"]
