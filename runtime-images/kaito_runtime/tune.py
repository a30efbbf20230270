"""Tune a base model with LoRA or QLoRA and save the adapter.

    python -m kaito_runtime.tune --config /mnt/config/training_config.yaml \
        --weights /workspace/weights --data /mnt/data --output /mnt/results
"""

import argparse
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig
from kaito_runtime.models.rendering import rendering_of
from kaito_runtime.pod import termination, threads
from kaito_runtime.pod.metrics import serve_in_background
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure, Stopped
from kaito_runtime.tuning.config import TrainingConfig, add_config, read_config
from kaito_runtime.tuning.data import open_folder
from kaito_runtime.tuning.examples import Example, find_columns
from kaito_runtime.tuning.loop import train
from kaito_runtime.tuning.metrics import TuningMetrics

log = logging.getLogger("kaito_runtime.tune")

METRICS_HOST = "0.0.0.0"  # noqa: S104
"""Prometheus comes from other nodes."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command = argparse.ArgumentParser(prog="kaito_runtime.tune", description=__doc__)
    add_config(command)
    command.add_argument(
        "--weights", metavar="DIR", default="/workspace/weights", help="the base model"
    )
    command.add_argument("--data", metavar="DIR", default="/mnt/data", help="the training data")
    command.add_argument(
        "--output", metavar="DIR", default="/mnt/results", help="where the adapter is written"
    )
    command.add_argument(
        "--metrics-port", metavar="N", type=int, default=5000, help="0 switches `GET /metrics` off"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Train as the configuration says and return the termination message."""
    flags = parser().parse_args(arguments)
    threads.prepare()
    config = read_config(in_root(flags.config))
    for key in config.without_effect:
        log.warning("%s has no effect here", key)
    examples = read_examples(in_root(flags.data), config.dataset)  # fails before torch starts
    metrics = TuningMetrics()
    if flags.metrics_port:
        try:
            serve_in_background(metrics.registry, METRICS_HOST, flags.metrics_port)
        except OSError as error:
            raise Failure(
                Reason.PORT_IN_USE,
                f"port {flags.metrics_port} is not available ({error.strerror}); write "
                "another one as --metrics-port, or 0 for none",
            ) from None
    try:
        return tune(config, examples, flags, metrics)
    except Stopped:
        raise Failure(
            Reason.TRAINING_FAILED, "the training was stopped (SIGTERM); nothing was saved"
        ) from None


def tune(
    config: TrainingConfig,
    examples: Sequence[Example],
    flags: argparse.Namespace,
    metrics: TuningMetrics,
) -> dict[str, Any]:
    """Load the model, train its adapter, save it; returns the figures of docs/pods.md."""
    import torch

    from kaito_runtime.models import adapters, load
    from kaito_runtime.tuning.encode import Encoder
    from kaito_runtime.tuning.packing import forward_pass

    load.quiet()
    random.seed(config.training.seed)
    torch.manual_seed(config.training.seed)
    placement = load.choose_placement(config.model.torch_dtype)
    log.info("Computing on %s, %d threads", placement, torch.get_num_threads())
    weights, trust = in_root(flags.weights), config.model.trust_remote_code
    tokenizer = load.load_tokenizer(weights, trust_remote_code=trust)
    encoder = Encoder(tokenizer, config.training)
    tokenized = [encoder.tokenize(example) for example in examples]
    base_model = load.load_base(weights, placement, config.quantization, trust_remote_code=trust)
    quantized = load.quantized_modules(base_model)
    provenance = adapters.provenance_of(weights, tokenizer)
    with load.device_faults("adding the adapter"):
        tuned = adapters.add_adapter(
            base_model, config.lora, checkpointing=config.training.gradient_checkpointing
        )
    trainable = sum(parameter.numel() for parameter in adapters.trainable_parameters(tuned))
    log.info(
        "Training on %d rows, %d tokens, with %d trainable parameters, quantisation %s",
        *(len(tokenized), sum(map(len, tokenized)), trainable, config.quantization.name),
    )
    with load.device_faults("training"):
        result = train(forward_pass(tuned), tokenized, config, metrics)
        conversations = sum(bool(example.messages) for example in examples)
        rendering = rendering_of(
            conversations, len(examples) - conversations, tokenizer.get_chat_template()
        )
        adapters.save_adapter(tuned, in_root(flags.output), flags.weights, rendering, provenance)
    report: dict[str, Any] = {
        "steps": result.steps,
        "epochs": result.epochs,
        "firstLoss": round(result.first_loss, 4),
        "lastLoss": round(result.last_loss, 4),
        "seconds": round(result.seconds, 1),
        "tokensPerSecond": round(result.tokens / max(result.seconds, 1e-9)),
        "trainableParameters": trainable,
        "quantization": config.quantization.name,
        "quantizedModules": quantized,
        "rendering": str(rendering.form),
    }
    return (
        report if result.eval_loss is None else {**report, "evalLoss": round(result.eval_loss, 4)}
    )


def read_examples(folder: Path, config: DatasetConfig) -> list[Example]:
    """Return all rows of all files of the data folder."""
    examples: list[Example] = []
    for table in open_folder(folder):
        columns = find_columns(table.columns, config, table.name) if table.columns else None
        before = len(examples)
        if columns:
            examples += [
                columns.example(row, f'"{table.name}", row {number}')
                for number, row in enumerate(table.rows, 1)
            ]
        print(f"data: {table.name}, {table.format}, {len(examples) - before:,} rows", flush=True)
    if not examples:
        raise Failure(Reason.DATA_EMPTY, f"the data in {folder} has no row; write at least one")
    return examples


if __name__ == "__main__":
    termination.run(main)
