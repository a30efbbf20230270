"""The engines that the contract is told of, each made in the same way."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kaito_runtime.serving.engine import ChatEngine

from tests.harness.echo_engine import EchoEngine

ROWS, WAITING = 4, 12
"""Small, so that a queue can be filled."""
CONTEXT = 256
Adapters = Mapping[str, Path]


@dataclass(frozen=True)
class EngineKind:
    """How to make an engine, and what of the contract it can be asked."""

    make: Callable[[Path, Adapters], ChatEngine]
    has_model: bool = True


def make_echo(weights: Path, adapters: Adapters) -> ChatEngine:
    return EchoEngine(list(adapters))


def make_transformers(weights: Path, adapters: Adapters) -> ChatEngine:
    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import load
    from kaito_runtime.models.adapters import StackedAdapters, Verifier, provenance_of
    from kaito_runtime.serving.engines.transformers.engine import EngineLimits, TransformersEngine

    load.quiet()
    model = load.load_base(weights, load.choose_placement("float32"), QuantizationConfig())
    tokenizer = load.load_tokenizer(weights)
    verifier = Verifier(StackedAdapters(model), provenance_of(weights, tokenizer), tokenizer)
    for name, folder in adapters.items():
        verifier.add(name, folder)
    limits = EngineLimits(waiting=WAITING, rows=ROWS)
    return TransformersEngine(model, tokenizer, adapters=verifier, limits=limits)


def make_vllm(weights: Path, adapters: Adapters) -> ChatEngine:
    from kaito_runtime.models import load
    from kaito_runtime.serving.engines.vllm.engine import VllmEngine
    from kaito_runtime.serving.engines.vllm.library import VllmSettings

    load.quiet()
    settings = VllmSettings(
        model=weights,
        dtype="float32",
        max_model_len=CONTEXT,
        max_num_seqs=ROWS,
        max_lora_rank=8,
        max_loras=3,
        cpu_cache_bytes=64 << 20,
    )
    engine = VllmEngine(settings, load.load_tokenizer(weights), waiting=WAITING)
    for name, folder in adapters.items():
        engine.load_adapter(name, folder, 1.0)
    return engine


ENGINES: Mapping[str, EngineKind] = {
    "echo": EngineKind(make_echo, has_model=False),
    "transformers": EngineKind(make_transformers),
    **({"vllm": EngineKind(make_vllm)} if importlib.util.find_spec("vllm") else {}),
}
"""vLLM where it is installed: `make test-vllm`."""
