"""The adapter of a training: made on the base model, and saved as two files and a record."""

import json
import math
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import LoraConfig
from kaito_runtime.models.adapters import initial
from kaito_runtime.models.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from kaito_runtime.models.adapters.provenance import Provenance
from kaito_runtime.models.rendering import RECORD_FILE, Rendering, write_rendering
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.termination import Failure


def add_adapter(model: Any, lora: LoraConfig, *, checkpointing: bool) -> Any:
    """Return the model with a fresh adapter that alone is trainable."""
    import peft

    if getattr(model, "is_quantized", False):
        prepare: Any = peft.prepare_model_for_kbit_training
        model = prepare(model, use_gradient_checkpointing=checkpointing)
    elif checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    try:
        tuned: Any = peft.get_peft_model(model, _peft_config(lora))
    except (ValueError, TypeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise Failure(
            Reason.CONFIG_INVALID,
            f"training_config.yaml: `LoraConfig` does not fit this model ({first}); its linear "
            f"layers are {', '.join(linear_layers(model))}",
        ) from None
    if lora.changes_base:
        tuned.initial_factors = initial.factors_of(tuned)
    return tuned


def linear_layers(model: Any) -> list[str]:
    """Return the last names of the model's linear layers: what target_modules can name."""
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if "Linear" in type(module).__name__ and not name.endswith("lm_head")
        }
    )


def save_adapter(
    model: Any,
    folder: Path,
    base: str,
    rendering: Rendering,
    provenance: Provenance | None = None,
) -> None:
    """Write the adapter's two files, and the record of how its rows were rendered and on what base.

    They appear whole, the weights last, and say what is to be added to the base as its own files have
    it: no initialisation is repeated where the adapter is loaded. `base` is the path of the contract:
    one of this machine would mean nothing where it is served.
    """
    with complete_or_nothing(folder) as unfinished:
        for config in model.peft_config.values():
            config.base_model_name_or_path = base
        model.save_pretrained(unfinished, save_embedding_layers=False)
        if factors := getattr(model, "initial_factors", None):
            initial.make_relative_to_base(unfinished, factors)
        path = unfinished / CONFIG_FILE
        content = json.loads(path.read_text())
        for key in ("target_modules", "modules_to_save"):
            if isinstance(content.get(key), list):  # peft keeps sets: their order is chance
                content[key].sort()
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        write_rendering(rendering, unfinished, provenance.record() if provenance else None)
        for path in list(unfinished.iterdir()):
            if path.name in (RECORD_FILE, CONFIG_FILE, WEIGHTS_FILE):
                path.chmod(0o644)
            else:
                path.unlink()  # peft also writes a card of the model


def trainable_parameters(model: Any) -> list[Any]:
    """Return the tensors that the optimizer moves."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _peft_config(lora: LoraConfig) -> Any:
    import peft

    make: Any = peft.LoraConfig
    return make(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=math.floor(lora.lora_alpha) if lora.lora_alpha % 1 == 0 else lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=_target_modules(lora.target_modules),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        bias=lora.bias,
        layers_to_transform=list(lora.layers_to_transform) or None,
        layers_pattern=lora.layers_pattern,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        modules_to_save=list(lora.modules_to_save) or None,
        fan_in_fan_out=lora.fan_in_fan_out,
        init_lora_weights=lora.init_lora_weights,
    )


def _target_modules(configured: tuple[str, ...]) -> list[str] | str:
    return "all-linear" if configured in ((), ("all-linear",)) else list(configured)
