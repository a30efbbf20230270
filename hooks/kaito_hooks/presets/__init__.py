"""What is known of models and of the sizes of nodes: presets.yaml, and what the names of sizes say."""

from kaito_hooks.presets.parse import parse_presets
from kaito_hooks.presets.types import (
    CLOUD,
    DEFAULT_PRICE_REGION,
    InstanceType,
    Memory,
    Network,
    Preset,
    Presets,
    Weights,
    bits_per_weight,
    capability,
)

__all__ = [
    "CLOUD",
    "DEFAULT_PRICE_REGION",
    "InstanceType",
    "Memory",
    "Network",
    "Preset",
    "Presets",
    "Weights",
    "bits_per_weight",
    "capability",
    "parse_presets",
]
