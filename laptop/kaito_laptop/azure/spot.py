"""Spot pools: their virtual machines may be taken away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SPOT = "kubernetes.azure.com/scalesetpriority"
"""Label and taint that AKS puts on their nodes."""


def is_spot(properties: Mapping[str, Any]) -> bool:
    """Whether a pool is one."""
    return properties.get("scaleSetPriority") == "Spot"
