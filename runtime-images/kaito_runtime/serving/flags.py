"""The command line of the model server; words with underscores are Kaito's, from the presets."""

import argparse
from pathlib import Path

from kaito_contract.sections import (
    COMPUTE_DTYPES,
    DTYPES,
    QUANT_TYPES,
)
from kaito_runtime.serving.http.chat_schema import PIPELINES

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  the Service and the kubelet come from elsewhere
_DESCRIPTION = """Serve a model, with or without adapters, over Kaito's HTTP interface.

python -m kaito_runtime.serve --weights /workspace/weights --adapters /mnt/adapter --port 5000
"""
ENGINES = ("transformers", "vllm")

_SWITCHES = {
    "load_in_4bit": "quantise the base to 4 bits; an adapter is served unmerged on it",
    "load_in_8bit": "quantise the base to 8 bits; an adapter is served unmerged on it",
    "bnb_4bit_use_double_quant": "quantise the quantisation constants too",
    "trust_remote_code": "run the Python code that lies beside the weights",
}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def parser() -> argparse.ArgumentParser:
    """Return the command line; words with underscores are Kaito's, from the presets."""
    command = argparse.ArgumentParser(prog="kaito_runtime.serve", description=_DESCRIPTION)
    command.add_argument(
        "--weights", metavar="DIR", default="/workspace/weights", help="the base model"
    )
    command.add_argument(
        "--adapters",
        metavar="DIR",
        default="/mnt/adapter",
        help="one folder per adapter",
    )
    command.add_argument(
        "--strength",
        metavar="NAME=S",
        type=_named,
        action="append",
        default=[],
        help="of an adapter; else it is in the environment variable named as the folder, else 1.0",
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
        "--engine", choices=ENGINES, default=ENGINES[0], help="what computes the answers"
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


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f'"{text}" must be NAME=STRENGTH, such as tone=0.5')
    return name, value


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
