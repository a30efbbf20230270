"""Serve a model, with or without adapters, over Kaito's HTTP interface.

python -m kaito_runtime.serve --weights /workspace/weights --adapters /mnt/adapter --port 5000
"""

import argparse
import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import (
    COMPUTE_DTYPES,
    DTYPES,
    QUANT_TYPES,
    InvalidConfig,
    QuantizationConfig,
)
from kaito_runtime.pod import termination, threads
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.auth import ApiKeys
from kaito_runtime.serving.http.chat_schema import PIPELINES
from kaito_runtime.serving.http.rate_limit import RateLimiter, RateLimits
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.start import StartLedger

log = logging.getLogger("kaito_runtime.serve")

READY = "The server is ready"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  the Service and the kubelet come from elsewhere
DRAIN_SECONDS = 25.0
"""Below Kubernetes' default grace period of 30 seconds."""

_SWITCHES = {
    "load_in_4bit": "quantise the base to 4 bits; an adapter is served unmerged on it",
    "load_in_8bit": "quantise the base to 8 bits; an adapter is served unmerged on it",
    "bnb_4bit_use_double_quant": "quantise the quantisation constants too",
    "trust_remote_code": "run the Python code that lies beside the weights",
}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_engine(flags: argparse.Namespace, start: StartLedger | None = None) -> ChatEngine:
    """Load model and adapters, generate one token, and return the engine; `start` times it."""
    return _ENGINES[flags.engine](flags, start or StartLedger())


def load_transformers(flags: argparse.Namespace, start: StartLedger) -> ChatEngine:
    """Return the transformers engine."""
    import torch

    from kaito_runtime.models import load
    from kaito_runtime.models.adapters import StackedAdapters, mounted_adapters
    from kaito_runtime.serving.engines.slots.engine import TransformersEngine

    load.quiet()
    placement = load.choose_placement(flags.torch_dtype)
    log.info("Computing on %s, %d threads", placement, torch.get_num_threads())
    quantization = quantization_of(flags)
    weights, trust = in_root(flags.weights), flags.trust_remote_code
    with start.phase("weights"):
        tokenizer = load.load_tokenizer(weights, trust_remote_code=trust)
        network = load.load_base(weights, placement, quantization, trust_remote_code=trust)
    quantized = load.quantized_modules(network)
    adapters = StackedAdapters(network)
    mounted = mounted_adapters(in_root(flags.adapters))
    with start.phase("adapters"):
        for name, (folder, strength) in mounted.items():
            with load.device_faults(f'loading the adapter "{name}"'):
                adapters.add(name, folder, strength)
    log.info(
        "Loaded the model, quantisation %s, %d quantised layers, adapters: %s",
        *(quantization.name, quantized),
        ", ".join(f"{name} ({each.strength:g})" for name, each in adapters.loaded.items())
        or "none",
    )
    with start.phase("first_token"), load.device_faults("generating one token"):
        return TransformersEngine(network, tokenizer, adapters=adapters)


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
        return start_engine(settings, tokenizer, mounted_adapters(in_root(flags.adapters)))


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


async def serve(
    load: Callable[[StartLedger], ChatEngine], host: str, port: int, state: ServerState
) -> Failure | None:
    """Listen at once, load meanwhile, answer until SIGTERM or until the engine ends.

    Returns why loading failed or the engine ended.
    """
    try:
        server = listen(state, host, port)
    except OSError as error:
        raise Failure(
            Reason.PORT_IN_USE,
            f"port {port} of {host} is not available ({error.strerror}); write another --port",
        ) from None
    loading = _Loading(state, load)
    await loading.stopped.wait()
    state.is_stopping = True
    server.stop()
    if state.engine:  # one that has ended answers too: that the client is to come back
        await state.drained(DRAIN_SECONDS)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, loading.thread.join)
    if state.engine:
        await loop.run_in_executor(None, state.engine.stop)
    await server.close_all_connections()
    return loading.failure


class _Loading:
    """Loads the engine on a thread, and says when the server is to stop: a signal, or a failure."""

    def __init__(self, state: ServerState, load: Callable[[StartLedger], ChatEngine]):
        self.stopped = asyncio.Event()
        self.failure: Failure | None = None
        self._state = state
        self._load = load
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stopped.set)
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._state.engine = self._load(self._state.start)
            self._state.engine.ended.add_done_callback(self._end)
            log.info("%s: %s", READY, self._state.start)
        except Failure as failure:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001  a fault of the runtime ends the server too
            self._fail(termination.unexpected(error))

    def _end(self, ended: "Future[Failure | None]") -> None:
        failure = ended.result()
        if failure is not None:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        self.failure = self.failure or failure
        self._loop.call_soon_threadsafe(self.stopped.set)


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any] | None:
    """Serve what the command line names."""
    flags = parser().parse_args(arguments)
    threads.prepare()
    state = ServerState(
        flags.pipeline,
        adapter_digest=os.environ.get("KAITO_ADAPTER_DIGEST", ""),
        keys=ApiKeys.from_file(flags.api_keys) if flags.api_keys else None,
        rate=RateLimiter(RateLimits(flags.requests_per_minute, flags.concurrent_requests)),
    )
    failure = asyncio.run(
        serve(lambda start: load_engine(flags, start), flags.host, flags.port, state)
    )
    if failure:
        raise failure
    return None


def parser() -> argparse.ArgumentParser:
    """Return the command line; words with underscores are Kaito's, from the presets."""
    command = argparse.ArgumentParser(prog="kaito_runtime.serve", description=__doc__)
    command.add_argument(
        "--weights", metavar="DIR", default="/workspace/weights", help="the base model"
    )
    command.add_argument(
        "--adapters",
        metavar="DIR",
        default="/mnt/adapter",
        help="one folder per adapter; the strength is in the environment variable named as the "
        "folder (default 1.0)",
    )
    command.add_argument("--host", metavar="H", default=EVERY_ADDRESS, help="where to listen")
    command.add_argument("--port", metavar="N", type=int, default=5000)
    command.add_argument("--pipeline", choices=PIPELINES, default=PIPELINES[0])
    command.add_argument(
        "--api-keys",
        metavar="FILE",
        type=Path,
        help="API keys, one a line, such as a mounted Secret; each request must have one of them",
    )
    command.add_argument(
        "--requests-per-minute",
        metavar="N",
        type=_count,
        help="of each key; default: any number",
    )
    command.add_argument(
        "--concurrent-requests",
        metavar="N",
        type=_count,
        help="of each key; default: any number",
    )
    command.add_argument(
        "--engine", choices=_ENGINES, default="transformers", help="what computes the answers"
    )
    command.add_argument("--torch_dtype", choices=DTYPES, default="auto")
    command.add_argument("--bnb_4bit_quant_type", choices=QUANT_TYPES, default="fp4")
    command.add_argument("--bnb_4bit_compute_dtype", choices=COMPUTE_DTYPES, default="float32")
    for switch, meaning in _SWITCHES.items():
        # Kaito's users write `--load_in_4bit` as well as `--load_in_4bit=true`.
        command.add_argument(
            f"--{switch}",
            metavar="true",
            nargs="?",
            type=_boolean,
            const=True,
            default=False,
            help=meaning,
        )
    _add_vllm_flags(command.add_argument_group("with --engine vllm, as its own command has them"))
    return command


def _add_vllm_flags(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--gpu-memory-utilization",
        metavar="SHARE",
        type=_share,
        default=0.9,
        help="of each GPU's memory, for everything",
    )
    group.add_argument(
        "--max-model-len",
        metavar="N",
        type=_count,
        help="tokens of prompt and answer together; without it, what the memory has room for",
    )
    group.add_argument(
        "--tensor-parallel-size", metavar="N", type=_count, default=1, help="GPUs for each layer"
    )
    group.add_argument(
        "--pipeline-parallel-size", metavar="N", type=_count, default=1, help="groups of layers"
    )
    group.add_argument(
        "--max-lora-rank",
        metavar="N",
        type=_count,
        help="largest rank of an adapter; without it, that of the mounted ones, and where there are "
        "none no adapter can be loaded",
    )


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f'"{text}" must be a whole number of at least 1')
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise argparse.ArgumentTypeError(f'"{text}" must be a number above 0 and at most 1')
    return share


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise argparse.ArgumentTypeError(f'"{text}" must be true or false')
    return _TRUTH[text.lower()]


if __name__ == "__main__":
    termination.run(main)
