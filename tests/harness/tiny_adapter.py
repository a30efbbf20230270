"""LoRA adapters of a tiny model whose matrices are not zero; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaito_runtime.models.adapters.provenance import Provenance


def make_tiny_adapter(
    weights: Path, folder: Path, seed: int, provenance: Provenance | None = None, **lora: Any
) -> Path:
    """Write one with these arguments of peft's LoraConfig, as the trainer writes it."""
    import peft
    import torch

    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import adapters, load
    from kaito_runtime.models.rendering import Rendering

    load.quiet()
    base = load.load_base(weights, load.choose_placement("float32"), QuantizationConfig())
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    make: Any = peft.LoraConfig
    tuned: Any = peft.get_peft_model(base, make(task_type="CAUSAL_LM", **settings))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapters.save_adapter(tuned, folder, "/workspace/weights", Rendering(), provenance)
    return folder
