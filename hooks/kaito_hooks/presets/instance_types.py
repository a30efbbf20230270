"""What an Azure size has beside its processors, read from its name: not every size of the N series has NVIDIA GPUs.

Sources: MicrosoftDocs/azure-compute-docs articles/virtual-machines/sizes/gpu-accelerated (NVv4: MI25, NVads_V710_v5,
NGads_V620_v1, ND_MI300X_v5) and sizes/fpga-accelerated (NP: Alveo U250, NMads_MA35D); Azure/karpenter-provider-azure
pkg/utils/supported-gpus.yaml names the manufacturer of each size that AKS knows.
"""

from __future__ import annotations

import re
from enum import Enum

_N_SERIES = re.compile(r"standard_(n[a-z]*)\d+([a-z]*)(.*)", re.IGNORECASE)
_AMD_MODEL = re.compile(r"_(mi|v)\d{3}x?_v\d+", re.IGNORECASE)
_NVV4 = ("nv", "as", "_v4")
"""The one series whose name has no model: Standard_NV4as_v4 to Standard_NV32as_v4."""


class Accelerator(Enum):
    """Who made what computes."""

    NVIDIA = "NVIDIA GPUs"
    AMD = "AMD GPUs"
    FPGA = "FPGAs or media accelerators"
    NONE = "no GPUs"


def accelerator(size: str) -> Accelerator:
    """A size of the N series that no rule knows has NVIDIA GPUs, as most of them do."""
    found = _N_SERIES.fullmatch(size)
    if not found:
        return Accelerator.NONE
    series, features, rest = (part.lower() for part in found.groups())
    if series in ("np", "nm"):
        return Accelerator.FPGA
    if series == "ng" or (series, features, rest) == _NVV4 or _AMD_MODEL.fullmatch(rest):
        return Accelerator.AMD
    return Accelerator.NVIDIA


def is_gpu_size(size: str) -> bool:
    """Whether the name is that of a size with GPUs or their like, known here or not."""
    return size.startswith("Standard_N")
