"""Make the demo model: Phi-3 shaped, pre-trained on the demo's own text in well under a minute.

    python -m kaito_runtime.demo.make --to DIR [--cache DIR] [--seed N]

The result is cached by a key of code, text and seed. It fails when the held-out loss stays above
its bound: a model that has learnt nothing would make the demo meaningless.
"""

import argparse
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_runtime.demo import text
from kaito_runtime.demo.text import Line
from kaito_runtime.pod import termination, threads
from kaito_runtime.pod.own_files import complete_or_nothing
from kaito_runtime.pod.progress import RateLimit
from kaito_runtime.pod.termination import Failure
from kaito_runtime.transfer.push import push_weights_image

LINES = 6000
HELD_OUT = 200
STEPS = 160
STEP_TOKENS = 768
LEARNING_RATE = 4e-3
LOSS_BOUND = 0.50
"""Mean loss per token on held-out lines. Random weights have 6.4 (ln 600). The entropy of the text
itself is about 0.39: who is asked about what, and code words that nobody can foresee."""

SHAPE: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "sliding_window": None,
    "tie_word_embeddings": True,
    # 1 / sqrt(hidden_size). With the library's 0.02, made for wide models, the embeddings stay so
    # short that the tied output head can't give a rare piece more than 0.3: nothing to be tuned.
    "initializer_range": 0.088,
    "attention_dropout": 0.0,
}


def make_model(to: Path, cache: Path, seed: int = 0) -> dict[str, Any]:
    """Write the model to a folder, from the cache where it has been made before."""
    started = time.monotonic()
    cached = cached_model(cache, seed)
    is_cached = _is_model(cached)
    report: dict[str, Any] = {} if is_cached else _make_in_cache(cached, seed)
    with complete_or_nothing(to) as unfinished:
        shutil.copytree(cached, unfinished, dirs_exist_ok=True)
    return {**report, "cached": is_cached, "seconds": round(time.monotonic() - started, 1)}


def cached_model(cache: Path, seed: int = 0) -> Path:
    """Return where the model of this seed is in a cache, once it has been made."""
    return cache / f"demo-model-{content_key(seed)}"


def content_key(seed: int) -> str:
    """Return what names this model: the code that makes it, its text and the seed."""
    here = Path(__file__).parent
    sources = [
        *sorted(here.glob("*.py")),
        *(
            here.parent / f"{name}.py"
            for name in ("tuning/packing", "tuning/encode", "models/tokenization")
        ),
    ]
    digest = hashlib.sha256(f"seed {seed}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def default_cache() -> Path:
    """Return the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kaito"


def _make_in_cache(cached: Path, seed: int) -> dict[str, Any]:
    if cached.exists():
        raise Failure(
            Reason.OUTPUT_PATH_INVALID,
            f"{cached} exists and is not a demo model; move it away, or write another --cache",
        )
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=cached.parent) as unfinished:
        made = Path(unfinished) / "model"
        made.mkdir()
        report = pretrain(made, seed)
        try:
            made.rename(cached)
        except OSError:
            if not _is_model(cached):  # else another process has made the same meanwhile
                raise
    return report


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def pretrain(folder: Path, seed: int) -> dict[str, Any]:
    """Train tokenizer and network on the demo's text and write both to a folder."""
    import torch
    from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

    from kaito_contract.sections import TrainingArguments
    from kaito_runtime.demo.tokenizer import TURN_END, make_tokenizer
    from kaito_runtime.models import load as placement
    from kaito_runtime.tuning.encode import Encoder

    placement.quiet()
    torch.manual_seed(seed)
    found = text.lines(LINES + HELD_OUT, seed)
    tokenizer = make_tokenizer((part for line in found for part in line), folder)
    encoder = Encoder(tokenizer, TrainingArguments())
    examples = [encoder.tokenize(_example(line, number)) for number, line in enumerate(found)]
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(TURN_END)]
    network = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **SHAPE,
        )
    )
    steps, loss = _train(network, examples[HELD_OUT:], examples[:HELD_OUT], seed)
    network.set_attn_implementation("sdpa")
    network.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    network.save_pretrained(folder)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"steps": steps, "heldOutLoss": round(loss, 3), "parameters": parameters}


def _example(line: Line, number: int) -> Any:
    """Return a line as a conversation, every fourth as bare text: `/chat` takes prompts too."""
    from kaito_runtime.tuning.examples import Example

    if number % 4:
        return Example(messages=tuple(text.messages(*line)))
    return Example(completion="\n".join(line))


def _train(network: Any, examples: Any, held_out: Any, seed: int) -> tuple[int, float]:
    import torch

    from kaito_contract.sections import TrainingArguments
    from kaito_runtime.tuning.encode import pack
    from kaito_runtime.tuning.loop import evaluate, step
    from kaito_runtime.tuning.packing import forward_pass

    training = TrainingArguments(max_length=STEP_TOKENS)
    forward = forward_pass(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.05
    )
    order = list(range(len(examples)))
    source = random.Random(seed)  # noqa: S311  reproducible, no secret
    progress, done, loss = RateLimit(), 0, float("inf")
    network.train()
    while done < STEPS:
        source.shuffle(order)
        for rows in pack(order, [len(example) for example in examples], STEP_TOKENS):
            step_loss = step(forward, [examples[row] for row in rows], training, optimizer)
            schedule.step()
            done += 1
            if progress.is_due():
                share = 100 * done // STEPS
                print(f"demo model: step {done} ({share} %) loss {step_loss:.3f}", flush=True)
            if done == STEPS:
                break
    loss = evaluate(forward, held_out, STEP_TOKENS)
    if loss > LOSS_BOUND:
        raise Failure(
            Reason.TRAINING_FAILED,
            f"the demo model has a held-out loss of {loss:.3f}, above its bound of {LOSS_BOUND}; "
            "write another --seed",
        )
    return done, loss


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Make the model that the command line asks for."""
    parser = argparse.ArgumentParser(prog="kaito_runtime.demo.make", description=__doc__)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--push", default="", help="also push it as an image of this name")
    parser.add_argument("--credentials", type=Path, help="docker config file for the push")
    flags = parser.parse_args(arguments)
    threads.prepare()
    made = make_model(flags.to, flags.cache, flags.seed)
    if flags.push:
        made |= push_weights_image(
            cached_model(flags.cache, flags.seed), flags.push, [flags.credentials]
        )
    return made


if __name__ == "__main__":
    termination.run(main)
