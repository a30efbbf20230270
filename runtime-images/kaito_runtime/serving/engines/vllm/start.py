"""The vLLM engine as the model server starts it: on this machine, with the adapters that are mounted."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kaito_runtime.models import load
from kaito_runtime.serving.engines.budget import device_budget
from kaito_runtime.serving.engines.vllm.adapter_files import largest_rank
from kaito_runtime.serving.engines.vllm.engine import VllmEngine
from kaito_runtime.serving.engines.vllm.library import VllmSettings

log = logging.getLogger(__name__)

LORAS_IN_A_STEP = 8
"""Each takes memory of the GPU, whether or not it is used."""


def start_engine(
    settings: VllmSettings, tokenizer: Any, adapters: Mapping[str, tuple[Path, float]]
) -> VllmEngine:
    """Return the engine with its adapters (name -> folder, strength) loaded; raises Failure.

    What the settings leave open is filled in: the number type and the memory of a processor, and room for
    the adapters.
    """
    settings = replace(
        _on_this_machine(settings),
        max_lora_rank=settings.max_lora_rank or largest_rank(adapters),
        max_loras=min(max(settings.max_loras, len(adapters)), LORAS_IN_A_STEP),
        max_cpu_loras=max(settings.max_cpu_loras, len(adapters)),
    )
    engine = VllmEngine(settings, tokenizer)
    try:
        for name, (folder, strength) in adapters.items():
            info = engine.load_adapter(name, folder, strength)
            log.info('Verified the adapter "%s": %s', name, info.verification)
    except BaseException:
        engine.stop()
        raise
    log.info(
        "vLLM serves %d tokens of context, adapters: %s",
        engine.model().context,
        ", ".join(f"{each.name} ({each.strength:g})" for each in engine.adapters()) or "none",
    )
    return engine


def _on_this_machine(settings: VllmSettings) -> VllmSettings:
    if torch.cuda.is_available():  # vLLM knows what its GPUs compute
        return settings
    placement = load.choose_placement(settings.dtype)
    return replace(
        settings,
        dtype=str(placement.dtype).removeprefix("torch."),
        cpu_cache_bytes=device_budget(torch.device("cpu")),
    )
