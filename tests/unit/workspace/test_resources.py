"""What the pods ask of their nodes: it fits the node that is ordered, over all models, sizes and methods."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_hooks.kube.quantities import GIB, binary, cores
from kaito_hooks.presets import InstanceType
from kaito_hooks.presets.allocatable import allocatable
from kaito_hooks.workspace.children import resources, training_config
from kaito_laptop.core import quantities

from tests.harness.all_pods import PRESETS, UNLISTED, cases, effective, fits, pod_specs

USABLE_DISK = Fraction(968 * 9, 10000)
"""Of an OS disk: a node reports 123.9 GiB of 128 GB, and the kubelet keeps a tenth of that free (nodefs.available)."""
SYSTEM_AND_IMAGES = 28 * GIB
"""On the same disk: the node's own system, and the images of tuning and inference with torch and CUDA."""


CASES = list(cases())
at_any = pytest.mark.parametrize(
    "size", [*PRESETS.instance_types.values(), None], ids=lambda size: getattr(size, "name", "?")
)


def test_every_model_that_can_be_served_or_tuned_is_among_the_cases() -> None:
    served = {name for name, _, method in CASES if not method}
    assert served == {name for name, each in PRESETS.presets.items() if not each.distributed}
    assert {name for name, _, method in CASES if method} == set(PRESETS.tunable())
    assert len(CASES) > 200


@at_any
def test_the_requests_fit_what_the_node_has_left(size: InstanceType | None) -> None:
    where = size.name if size else UNLISTED
    for name, _, method in [case for case in CASES if case[1] == where]:
        preset = PRESETS.presets[name]
        for what, spec in pod_specs(preset, where, method).items():
            requests, limits = effective(spec, "requests"), effective(spec, "limits")
            assert all(limits[each] >= amount > 0 for each, amount in requests.items()), (
                name,
                what,
            )
            assert set(limits) == set(requests) >= {"cpu", "memory", "ephemeral-storage"}
            if size is None or what == "check":
                continue
            left = allocatable(size)
            assert requests["memory"] <= left.memory, (name, method, what)
            assert requests["cpu"] * 1000 <= left.millicores, (name, method, what)
            assert requests["nvidia.com/gpu"] <= size.gpus, (name, method, what)
            # Above this the kubelet evicts, which is no failure: only the limit may end the pod.
            assert limits["memory"] <= left.memory, (name, method, what)


@at_any
def test_a_limit_holds_the_weights_where_the_node_can(size: InstanceType | None) -> None:
    where = size.name if size else UNLISTED
    for name, _, method in [case for case in CASES if case[1] == where and case[2] != "qlora"]:
        preset = PRESETS.presets[name]
        weights = preset.parameters * (4 if name == "tiny-demo" else 2)
        for what, spec in pod_specs(preset, where, method).items():
            if what != "check":
                limit = effective(spec, "limits")["memory"]
                room = allocatable(size).memory if size else weights + 5 * GIB
                assert limit >= min(room - GIB, weights + 5 * GIB), (name, method, what)


@pytest.mark.parametrize("name", sorted(PRESETS.presets))
def test_the_disk_that_is_ordered_holds_what_the_folders_may(name: str) -> None:
    preset = PRESETS.presets[name]
    disk = quantities.parse(preset.disk)
    for _, size, method in [case for case in CASES if case[0] == name]:
        for what, spec in pod_specs(preset, size, method).items():
            limit = effective(spec, "limits")["ephemeral-storage"]
            folders = sum(
                quantities.parse(volume["emptyDir"]["sizeLimit"])
                for volume in spec["volumes"]
                if volume.get("emptyDir", {}).get("medium", "") == "" and "emptyDir" in volume
            )
            assert limit >= folders, (what, "the pod is ended before its folders are full")
            if what != "check":
                assert limit <= disk * USABLE_DISK, (method, what)
            if what != "check" and not preset.private:
                assert limit + SYSTEM_AND_IMAGES <= disk * USABLE_DISK, (method, what)


def test_shared_memory_fits_into_the_memory_that_it_counts_against() -> None:
    for name, size, method in CASES:
        for what, spec in pod_specs(PRESETS.presets[name], size, method).items():
            shared = [v["emptyDir"] for v in spec["volumes"] if v["name"] == "dshm"]
            if what == "check":
                assert not shared
                continue
            memory = effective(spec, "requests")["memory"]
            assert quantities.parse(shared[0]["sizeLimit"]) <= memory / 4


@pytest.mark.parametrize(
    ("size", "cpu"),
    [("Standard_NC24ads_A100_v4", "24"), ("Standard_NC16as_T4_v3", "16"), (UNLISTED, "8")],
)
def test_the_processors_of_the_node_are_not_withheld(size: str, cpu: str) -> None:
    preset = PRESETS.presets["phi-3-mini-128k-instruct"]
    for what, spec in pod_specs(preset, size, "qlora").items():
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            expected = "1" if what == "check" else cpu
            assert container["resources"]["limits"]["cpu"] == expected, container["name"]


def test_only_what_computes_holds_the_gpu() -> None:
    specs = pod_specs(PRESETS.presets["phi-2"], "Standard_NC24ads_A100_v4", "lora")
    holders = [
        container["name"]
        for spec in specs.values()
        for container in [*spec.get("initContainers", ()), *spec["containers"]]
        if "nvidia.com/gpu" in container["resources"]["requests"]
    ]
    assert holders == ["train", "workspace-tuning-phi-3"]


@pytest.mark.parametrize(
    ("case", "sections", "memory"),
    [
        ("as the defaults say", {}, 20),
        ("in float32, which the user may write", {"ModelConfig": {"torch_dtype": "float32"}}, 33),
        ("without a type", {"ModelConfig": {}}, 20),
        ("with a section that is null", {"ModelConfig": {"torch_dtype": None}}, 20),
        ("in 4 bits", {"QuantizationConfig": {"load_in_4bit": True}}, 10),
        ("in 8 bits", {"QuantizationConfig": {"load_in_8bit": True}}, 13),
    ],
)  # fmt: skip
def test_memory_follows_the_number_type_that_the_user_wrote(
    case: str, sections: dict[str, Any], memory: int
) -> None:
    """falcon-7b has 7,217,189,760 weights: 13.4 GiB in 16 bits, 26.9 in 32; and 4 for the engine, 1 each for /dev/shm
    and the adapter. The limit has 20 more, for the data.
    """
    found = fits(PRESETS.presets["falcon-7b"], "Standard_NC24ads_A100_v4", "lora")
    assert found
    config = {**training_config.default_config("lora"), **sections}
    figures = resources.of_tuning(found.fit, config, [])
    assert (figures.memory, figures.memory_limit) == (memory * GIB, (memory + 20) * GIB), case


def test_a_size_that_is_not_listed_gets_the_figures_of_the_preset_alone() -> None:
    preset = PRESETS.presets["mistral-7b"]
    large = pod_specs(preset, "Standard_NC96ads_A100_v4", "")["serve"]
    unlisted = pod_specs(preset, UNLISTED, "")["serve"]
    assert effective(unlisted, "requests") == effective(large, "requests")
    assert effective(unlisted, "limits")["memory"] == effective(large, "limits")["memory"]


@pytest.mark.parametrize(
    ("size", "memory", "millicores"),
    [
        # AKS' own figures for 4 and 64 processors are 140 and 740 millicores; a daemonset's share of 1000 goes off too.
        ("Standard_NC4as_T4_v3", 19.1, 4000 - 140 - 1000),
        ("Standard_NC64as_T4_v3", 388.7, 64000 - 740 - 1000),
        ("Standard_NC24ads_A100_v4", 189.6, 24000 - 340 - 1000),
    ],
)
def test_what_a_node_has_left(size: str, memory: float, millicores: int) -> None:
    found = allocatable(PRESETS.instance_types[size])
    assert found.millicores == millicores
    assert found.memory / GIB == pytest.approx(memory, abs=0.05)


@given(st.integers(0, 1 << 45))
def test_bytes_are_written_as_the_api_server_stores_them(amount: int) -> None:
    assert binary(amount) == quantities.canonical(binary(amount))
    assert amount <= quantities.parse(binary(amount)) < amount + (1 << 20)


@given(st.integers(0, 999_999))
def test_processors_are_written_as_the_api_server_stores_them(millicores: int) -> None:
    assert cores(millicores) == quantities.canonical(cores(millicores))
    assert quantities.parse(cores(millicores)) * 1000 == millicores
