"""From the command line to an engine that has generated a token: one function for each engine."""

import argparse
import logging
from collections.abc import Callable, Mapping

from kaito_contract.reasons import Reason
from kaito_contract.sections import (
    InvalidConfig,
    QuantizationConfig,
)
from kaito_runtime.pod import torchrun
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.start import StartLedger

log = logging.getLogger("kaito_runtime.serve")


def load_engine(flags: argparse.Namespace, start: StartLedger | None = None) -> ChatEngine:
    """Load model and adapters, generate one token, and return the engine; `start` times it."""
    return _ENGINES[flags.engine](flags, start or StartLedger())


def load_transformers(flags: argparse.Namespace, start: StartLedger) -> ChatEngine:
    """Return the transformers engine."""
    import torch

    from kaito_runtime.models import load, ranks
    from kaito_runtime.models.adapters import (
        StackedAdapters,
        Verifier,
        mounted_adapters,
        provenance_of,
    )
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine
    from kaito_runtime.serving.engines.transformers.following import FollowingEngine
    from kaito_runtime.serving.engines.transformers.replica import Replica

    load.quiet()
    quantization = quantization_of(flags)
    weights, trust = in_root(flags.weights), flags.trust_remote_code
    start_followers(flags, quantization)
    placement = load.choose_placement(flags.torch_dtype, ranks.join())
    log.info("Computing on %s, %d threads", placement, torch.get_num_threads())
    with start.phase("weights"):
        tokenizer = load.load_tokenizer(weights, trust_remote_code=trust)
        network = load.load_base(weights, placement, quantization, trust_remote_code=trust)
    quantized = load.quantized_modules(network)
    served = provenance_of(weights, tokenizer)
    adapters = Verifier(StackedAdapters(network), served, tokenizer)
    mounted = mounted_adapters(in_root(flags.adapters), dict(flags.strength))
    with start.phase("adapters"):
        for name, (folder, strength) in mounted.items():
            with load.device_faults(f'loading the adapter "{name}"'):
                _, verification = adapters.add(name, folder, strength)
            log.info('Verified the adapter "%s": %s', name, verification)
    log.info(
        "Loaded the model, quantisation %s, %d quantised layers, adapters: %s",
        *(quantization.name, quantized),
        ", ".join(f"{name} ({each.strength:g})" for name, each in adapters.adapters.loaded.items())
        or "none",
    )
    with start.phase("first_token"), load.device_faults("generating one token"):
        if placement.ranks.rank:
            return FollowingEngine(
                Replica(
                    network, network.config.get_text_config().vocab_size, adapters, placement.ranks
                )
            )
        return TransformersEngine(network, tokenizer, adapters=adapters, ranks=placement.ranks)


def start_followers(flags: argparse.Namespace, quantization: QuantizationConfig) -> None:
    """Start a process for each further GPU where all of them can compute the model together.

    Where they can't (it is quantised, transformers has no plan for it, its heads can't be shared out), this
    process has the layers on all GPUs. Under torchrun they run already; raises Failure for what they can't
    compute.
    """
    import torch

    from kaito_runtime.models import tensor_parallel
    from kaito_runtime.serving.followers import Followers

    is_started = torchrun.size() > 1
    count = torchrun.size() if is_started else torch.cuda.device_count()
    if count < 2:
        return
    why = tensor_parallel.obstacle(
        in_root(flags.weights), count, quantization, trust_remote_code=flags.trust_remote_code
    )
    if why and is_started:
        raise Failure(
            Reason.CONFIG_INVALID,
            f"{count} processes can't compute this model together: {why}; start one that sees all GPUs",
        )
    if why:
        log.info("One process computes on all %d GPUs, one after the other: %s", count, why)
    elif (
        not is_started and "arguments" in flags
    ):  # another program that loads an engine has no others
        Followers(count, flags.arguments)


def load_vllm(flags: argparse.Namespace, start: StartLedger) -> ChatEngine:
    """Return the vLLM engine."""
    from kaito_runtime.models import load
    from kaito_runtime.models.adapters import mounted_adapters
    from kaito_runtime.serving.engines.vllm.library import VllmSettings
    from kaito_runtime.serving.engines.vllm.start import start_engine

    load.quiet()
    if quantization_of(flags).name != "none":
        raise Failure(
            Reason.CONFIG_INVALID,
            "a quantised base is not served by vLLM; leave out --load_in_4bit and --load_in_8bit, or "
            "write --engine transformers",
        )
    weights, trust = in_root(flags.weights), flags.trust_remote_code
    settings = VllmSettings(
        model=weights,
        dtype=flags.torch_dtype,
        trust_remote_code=trust,
        max_model_len=flags.max_model_len,
        gpu_memory_utilization=flags.gpu_memory_utilization,
        tensor_parallel_size=flags.tensor_parallel_size,
        pipeline_parallel_size=flags.pipeline_parallel_size,
        max_lora_rank=flags.max_lora_rank or 0,
    )
    with start.phase("weights"):
        tokenizer = load.load_tokenizer(weights, trust_remote_code=trust)
    with start.phase("first_token"):
        mounted = mounted_adapters(in_root(flags.adapters), dict(flags.strength))
        return start_engine(settings, tokenizer, mounted)


_ENGINES: Mapping[str, Callable[[argparse.Namespace, StartLedger], ChatEngine]] = {
    "transformers": load_transformers,
    "vllm": load_vllm,
}


def quantization_of(flags: argparse.Namespace) -> QuantizationConfig:
    """Return how the base is quantised; ConfigInvalid for two ways at once."""
    try:
        return QuantizationConfig(
            load_in_4bit=flags.load_in_4bit,
            load_in_8bit=flags.load_in_8bit,
            bnb_4bit_quant_type=flags.bnb_4bit_quant_type,
            bnb_4bit_compute_dtype=flags.bnb_4bit_compute_dtype,
            bnb_4bit_use_double_quant=flags.bnb_4bit_use_double_quant,
        )
    except InvalidConfig as error:
        raise Failure(Reason.CONFIG_INVALID, str(error)) from None
