"""Whether several processes can compute a model together, by transformers' plan for its kind."""

from pathlib import Path

from transformers.distributed.tensor_parallel import get_kv_heads_per_rank

from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models.outline import outline


def obstacle(
    weights: Path, size: int, quantization: QuantizationConfig, *, trust_remote_code: bool = False
) -> str:
    """Return why `size` processes can't compute a model together, "" where they can.

    Nothing is loaded; raises what transformers raises for a configuration that it does not know.
    """
    if quantization.name != "none":
        return "a quantised model is computed by one process"
    model = outline(weights, trust_remote_code=trust_remote_code)
    plan, text = model.tp_plan or {}, model.config.get_text_config()
    if not any(".layers." in f".{name}" for name in plan):
        return f"transformers has no tensor parallel plan for models of the type {model.config.model_type}"
    heads = int(text.num_attention_heads)
    of_keys = int(getattr(text, "num_key_value_heads", None) or heads)
    for what, count in (("attention heads", heads), ("key-value heads", of_keys)):
        if get_kv_heads_per_rank(plan, count, size) is None:
            return f"its {count} {what} can't be shared out evenly to {size} processes"
    return ""
