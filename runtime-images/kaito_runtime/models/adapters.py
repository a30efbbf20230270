"""LoRA adapters: made for training, saved as two files, put onto a base for serving."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import LoraConfig
from kaito_runtime.models.rendering import (
    RECORD_FILE,
    Rendering,
    common_rendering,
    read_rendering,
    write_rendering,
)
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.termination import Failure

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


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
        return peft.get_peft_model(model, _peft_config(lora))
    except (ValueError, TypeError) as error:
        first = str(error).partition("\n")[0][:200]
        raise Failure(
            Reason.CONFIG_INVALID,
            f"training_config.yaml: `LoraConfig` does not fit this model ({first}); its linear "
            f"layers are {', '.join(linear_layers(model))}",
        ) from None


def linear_layers(model: Any) -> list[str]:
    """Return the last names of the model's linear layers: what target_modules can name."""
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if "Linear" in type(module).__name__ and not name.endswith("lm_head")
        }
    )


def save_adapter(model: Any, folder: Path, base: str, rendering: Rendering) -> None:
    """Write the adapter's two files and the record of how its rows were rendered.

    They appear whole, the weights last. `base` is the path of the contract: one of this machine
    would mean nothing where it is served.
    """
    with complete_or_nothing(folder) as unfinished:
        for config in model.peft_config.values():
            config.base_model_name_or_path = base
        model.save_pretrained(unfinished, save_embedding_layers=False)
        path = unfinished / CONFIG_FILE
        content = json.loads(path.read_text())
        for key in ("target_modules", "modules_to_save"):
            if isinstance(content.get(key), list):  # peft keeps sets: their order is chance
                content[key].sort()
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        write_rendering(rendering, unfinished)
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


def mounted_adapters(folder: Path) -> dict[str, tuple[Path, float]]:
    """Return the adapters below a folder: name -> its folder and strength, sorted by name.

    Kaito's rule: the strength is in the environment variable that is named as the adapter.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        text = os.environ.get(path.name, "1.0")
        try:
            strength = float(text)
        except ValueError:
            strength = math.nan
        if not math.isfinite(strength):
            raise _unusable(path.name, f'its strength is "{text}"; write a number such as "0.5"')
        found[path.name] = (path, strength)
    return found


def rendering_of_adapters(adapters: Mapping[str, tuple[Path, float]]) -> Rendering:
    """Return how the rows of the adapters were rendered; text where there is none, or they differ.

    Raises AdapterInvalid for a record that contradicts itself.
    """
    found = {}
    for name, (folder, _) in adapters.items():
        try:
            found[name] = read_rendering(folder)
        except ValueError as error:
            raise _unusable(name, str(error)) from None
    return common_rendering(found.values())


def load_adapters(model: Any, adapters: Mapping[str, tuple[Path, float]]) -> Any:
    """Return the model with the adapters loaded, each with its strength.

    With an unquantised base the sum is merged into the weights, which costs nothing per token. On a
    quantised base it stays apart: merging would round the adapter to 4 bits with the base.
    """
    import peft

    from kaito_runtime.models.load import device_faults

    is_quantized = bool(getattr(model, "is_quantized", False))
    names = [f"adapter_{number}" for number in range(len(adapters))]
    tuned: Any = None
    for name, (folder_name, (folder, strength)) in zip(names, adapters.items(), strict=True):
        _require_readable(folder_name, folder)
        try:
            with device_faults(f'loading the adapter "{folder_name}"'):
                if tuned is None:
                    tuned = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=name)
                else:
                    tuned.load_adapter(str(folder), adapter_name=name)
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001  peft and torch raise what they like
            first = " ".join(str(error).split())[:300]
            raise _unusable(
                folder_name, f"it does not fit this base model ({first}); was it tuned on another?"
            ) from None
        _require_complete(folder_name, folder, tuned, name)
        if len(names) == 1:
            _scale(tuned, strength)
    if len(names) > 1:
        # "cat" lays the matrices side by side: the exact weighted sum, for any ranks.
        weights = [strength for _, strength in adapters.values()]
        tuned.add_weighted_adapter(names, weights, "combined", combination_type="cat")
        tuned.set_adapter("combined")
        for name in names:
            tuned.delete_adapter(name)
    return tuned.eval() if is_quantized else tuned.merge_and_unload().eval()


def _scale(tuned: Any, strength: float) -> None:
    from peft.tuners.lora import LoraLayer

    for module in tuned.modules():
        if isinstance(module, LoraLayer):
            module.scale_layer(strength)


def _require_readable(name: str, folder: Path) -> None:
    """Read the adapter's files as far as their form and their numbers go."""
    import torch
    from safetensors import SafetensorError, safe_open

    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise _unusable(name, f"it has no {file}; its image must hold it below /data")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        kind = config["peft_type"]
    except (ValueError, KeyError, TypeError):
        raise _unusable(name, f"its {CONFIG_FILE} is not the configuration of an adapter") from None
    if kind != "LORA":
        raise _unusable(name, f'its kind is "{kind}"; only LORA can be served')
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - no mapping
                if not bool(torch.isfinite(tensors.get_tensor(key)).all()):
                    raise _unusable(name, f'its tensor "{key}" has values that are not finite')
    except SafetensorError as error:
        raise _unusable(
            name, f"its {WEIGHTS_FILE} is damaged ({error}); pull or push it again"
        ) from None


def _require_complete(name: str, folder: Path, tuned: Any, adapter_name: str) -> None:
    """Compare the tensors in the file with those that the model wants: peft skips silently."""
    import peft
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS_FILE, framework="pt") as tensors:
        found = set(tensors.keys())
    wanted = set(
        peft.get_peft_model_state_dict(
            tuned, adapter_name=adapter_name, save_embedding_layers=False
        )
    )
    if missing := sorted(wanted - found):
        raise _unusable(
            name, f'its {WEIGHTS_FILE} lacks {len(missing)} tensors, such as "{missing[0]}"'
        )
    if extra := sorted(found - wanted):
        raise _unusable(
            name,
            f'its {WEIGHTS_FILE} has {len(extra)} tensors that fit no layer, such as "{extra[0]}"; '
            "was it tuned on another base model?",
        )


def _unusable(name: str, what: str) -> Failure:
    return Failure(Reason.ADAPTER_INVALID, f'adapter "{name}" can\'t be served: {what}')
