"""Whether several processes can compute a model together, by transformers' plan for its kind."""

from pathlib import Path
from typing import Any

import torch
from transformers.distributed.tensor_parallel import get_kv_heads_per_rank

from kaito_contract.sections import QuantizationConfig


def obstacle(
    weights: Path, size: int, quantization: QuantizationConfig, *, trust_remote_code: bool = False
) -> str:
    """Return why `size` processes can't compute a model together, "" where they can.

    Nothing is loaded; raises what transformers raises for a configuration that it does not know.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if quantization.name != "none":
        return "a quantised model is computed by one process"
    config: Any = AutoConfig.from_pretrained(
        weights, trust_remote_code=trust_remote_code, local_files_only=True
    )
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    plan, text = model.tp_plan or {}, config.get_text_config()
    if not any(".layers." in f".{name}" for name in plan):
        return (
            f"transformers has no tensor parallel plan for models of the type {config.model_type}"
        )
    heads = int(text.num_attention_heads)
    of_keys = int(getattr(text, "num_key_value_heads", None) or heads)
    for what, count in (("attention heads", heads), ("key-value heads", of_keys)):
        if get_kv_heads_per_rank(plan, count, size) is None:
            return f"its {count} {what} can't be shared out evenly to {size} processes"
    return ""
