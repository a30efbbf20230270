"""Adapters merged into the base by peft: one combination a process."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaito_runtime.models.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from kaito_runtime.models.adapters.refusals import refusal
from kaito_runtime.pod.termination import Failure


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
            raise refusal(
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
            raise refusal(name, f"it has no {file}; its image must hold it below /data")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())
        kind = config["peft_type"]
    except (ValueError, KeyError, TypeError):
        raise refusal(name, f"its {CONFIG_FILE} is not the configuration of an adapter") from None
    if kind != "LORA":
        raise refusal(name, f'its kind is "{kind}"; only LORA can be served')
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - no mapping
                if not bool(torch.isfinite(tensors.get_tensor(key)).all()):
                    raise refusal(name, f'its tensor "{key}" has values that are not finite')
    except SafetensorError as error:
        raise refusal(
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
        raise refusal(
            name, f'its {WEIGHTS_FILE} lacks {len(missing)} tensors, such as "{missing[0]}"'
        )
    if extra := sorted(found - wanted):
        raise refusal(
            name,
            f'its {WEIGHTS_FILE} has {len(extra)} tensors that fit no layer, such as "{extra[0]}"; '
            "was it tuned on another base model?",
        )
