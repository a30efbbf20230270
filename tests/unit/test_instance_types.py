"""What a size has is told by its name, for both hooks alike."""

from __future__ import annotations

import pytest

from kaito_hooks.presets.instance_types import Accelerator, accelerator
from kaito_hooks.web.workspace import load_presets

AMD = (
    *("Standard_NV4as_v4", "Standard_NV8as_v4", "Standard_NV16as_v4", "Standard_NV32as_v4"),
    *("Standard_NV4ads_V710_v5", "Standard_NV12ads_V710_v5", "Standard_NV28adms_V710_v5"),
    *("Standard_NG8ads_V620_v1", "Standard_NG32adms_V620_v1", "Standard_NG32adms_V620"),
    *("Standard_ND96isr_MI300X_v5", "Standard_ND96is_MI300X_v5"),
)
FPGA = ("Standard_NP10s", "Standard_NP20s", "Standard_NP40s", "Standard_NM16ads_MA35D")
NONE = ("Standard_D4s_v5", "Standard_E16nds_v6", "Standard_HB120rs_v3", "Basic_A1", "m5.large", "")
UNLISTED = (
    *("Standard_NC16ads_A10_v4", "Standard_NV6s_v2", "Standard_NV6_Promo", "Standard_ND40s_v3"),
    *("Standard_ND128isr_NDR_GB200_v6", "Standard_NC36lds_xl_RTXPRO6000BSE_v6"),
    *("Standard_ND96is_flex_H100_v5", "Standard_NX8as_B999_v9"),
)
"""NVIDIA sizes that presets.yaml does not list, and one that does not exist yet."""


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *((size, Accelerator.AMD) for size in AMD),
        *((size, Accelerator.FPGA) for size in FPGA),
        *((size, Accelerator.NONE) for size in NONE),
        *((size, Accelerator.NVIDIA) for size in UNLISTED),
    ],
)
def test_the_name_says_what_a_size_has_whatever_its_case(size: str, expected: Accelerator) -> None:
    assert accelerator(size) is expected
    assert accelerator(size.lower()) is expected


@pytest.mark.parametrize(
    "size", [*load_presets().instance_types, *load_presets().instance_type_aliases]
)
def test_every_size_of_the_catalogue_has_nvidia_gpus(size: str) -> None:
    assert accelerator(size) is Accelerator.NVIDIA
