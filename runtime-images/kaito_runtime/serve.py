"""Serve a model, with or without adapters, over Kaito's HTTP interface.

python -m kaito_runtime.serve --weights /workspace/weights --adapters /mnt/adapter --port 5000
"""

import argparse
import asyncio
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
from kaito_runtime.models.rendering import Form, Rendering
from kaito_runtime.pod import termination, threads
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.handler import Served
from kaito_runtime.serving.schema import PIPELINES

DRAIN_SECONDS = 25.0
"""Below Kubernetes' default grace period of 30 seconds."""

_SWITCHES = {
    "load_in_4bit": "quantise the base to 4 bits; an adapter is served unmerged on it",
    "load_in_8bit": "quantise the base to 8 bits; an adapter is served unmerged on it",
    "bnb_4bit_use_double_quant": "quantise the quantisation constants too",
    "trust_remote_code": "run the Python code that lies beside the weights",
}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_engine(flags: argparse.Namespace) -> ChatEngine:
    """Load model and adapters, generate one token, and return the engine."""
    import torch

    from kaito_runtime.models import load
    from kaito_runtime.serving.engines.transformers import BatchingEngine

    load.quiet()
    placement = load.choose_placement(flags.torch_dtype)
    print(
        f"{placement.device}, {placement.dtype} ({placement.why}), "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )
    quantization = quantization_of(flags)
    weights = in_root(flags.weights)
    trust = flags.trust_remote_code
    tokenizer = load.load_tokenizer(weights, trust_remote_code=trust)
    network = load.load_base(weights, placement, quantization, trust_remote_code=trust)
    quantized = load.quantized_modules(network)
    adapters = mounted(in_root(flags.adapters))
    rendering = Rendering()
    if adapters:
        # peft costs more than a second of the start.
        from kaito_runtime.models.adapters import put_on, taught_rendering

        rendering = taught_rendering(adapters)
        with load.device_faults("putting the adapters onto the model"):
            network = put_on(network, adapters)
    if rendering.chat_template:
        tokenizer.chat_template = rendering.chat_template  # that very one, whatever the base has
    print(
        f"model loaded, quantisation {quantization.name}, "
        f"{quantized} quantised layers, adapters: "
        f"{', '.join(f'{name} ({strength:g})' for name, (_, strength) in adapters.items()) or 'none'}",
        flush=True,
    )
    is_chat = rendering.form is Form.CHAT
    print(
        "a prompt is one message of the user, as the adapter was tuned"
        if is_chat
        else "a prompt is text to continue",
        flush=True,
    )
    engine = BatchingEngine(network, tokenizer, renders_chat=is_chat)
    engine.prove()
    return engine


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


def mounted(folder: Path) -> dict[str, tuple[Path, float]]:
    """Return the adapters in a folder; without any, peft is never imported."""
    from kaito_runtime.models.adapters import mounted_adapters

    return mounted_adapters(folder)


async def serve(
    load: Callable[[], ChatEngine], host: str, port: int, pipeline: str
) -> Failure | None:
    """Listen at once, load meanwhile, answer until SIGTERM or until the engine ends.

    Returns why loading failed or the engine ended.
    """
    served = Served(pipeline, adapter_digest=os.environ.get("KAITO_ADAPTER_DIGEST", ""))
    try:
        server = listen(served, host, port)
    except OSError as error:
        raise Failure(
            Reason.PORT_IN_USE,
            f"port {port} of {host} can't be listened on ({error.strerror}); write another --port",
        ) from None
    stopped = asyncio.Event()
    failures: list[Failure] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def end_with_the_engine(ended: "Future[Failure | None]") -> None:
        failure = ended.result()
        if failure is not None:
            failures.append(failure)
            loop.call_soon_threadsafe(stopped.set)

    def load_in_background() -> None:
        try:
            served.engine = load()
            served.engine.ended.add_done_callback(end_with_the_engine)
            print("ready", flush=True)
        except Failure as failure:
            failures.append(failure)
        except Exception as error:
            failures.append(termination.unexpected(error))
        if failures:
            loop.call_soon_threadsafe(stopped.set)

    loading = threading.Thread(target=load_in_background, name="load", daemon=True)
    loading.start()
    await stopped.wait()
    served.is_stopping = True
    server.stop()
    if served.engine:  # one that has ended answers too: that the client is to come back
        await served.drained(DRAIN_SECONDS)
    await loop.run_in_executor(None, loading.join)
    if served.engine:
        await loop.run_in_executor(None, served.engine.stop)
    await server.close_all_connections()
    return failures[0] if failures else None


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any] | None:
    """Serve what the command line names."""
    flags = parser().parse_args(arguments)
    threads.prepare()
    failure = asyncio.run(serve(lambda: load_engine(flags), flags.host, flags.port, flags.pipeline))
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
    command.add_argument("--host", metavar="H", default="0.0.0.0", help="where to listen")
    command.add_argument("--port", metavar="N", type=int, default=5000)
    command.add_argument("--pipeline", choices=PIPELINES, default=PIPELINES[0])
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
    return command


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise argparse.ArgumentTypeError(f'"{text}" must be true or false')
    return _TRUTH[text.lower()]


if __name__ == "__main__":
    termination.run(main)
