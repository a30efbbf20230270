"""A model without its weights: what its layers are called and how large they are, before anything is loaded."""

from pathlib import Path
from typing import Any

import torch


def outline(
    weights: Path, dtype: torch.dtype | None = None, *, trust_remote_code: bool = False
) -> Any:
    """Return transformers' model on the device `meta`, by the config.json beside the weights.

    Raises what transformers raises for a configuration that it does not know.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(
        weights, trust_remote_code=trust_remote_code, local_files_only=True
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=trust_remote_code
        )
