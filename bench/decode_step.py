"""`make bench-step`: where the time of one decode step goes, and how far it is from its floor.

The engine answers 32 requests; once all are decoded, its steps are measured. The floor is to read every weight
once, at the rate at which this machine reads memory. torch's profiler says which operators the rest computes in;
what is left of the clock is Python between them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kaito_runtime.pod import threads

threads.prepare()  # before torch is imported, as in the server

import torch  # noqa: E402

from kaito_runtime.models import load  # noqa: E402
from kaito_runtime.serving.engines.transformers.engine import TransformersEngine  # noqa: E402
from kaito_runtime.serving.engines.transformers.replica import Replica  # noqa: E402
from kaito_runtime.serving.engines.transformers.sampler import Sampler  # noqa: E402
from kaito_runtime.serving.engines.transformers.scheduler import Scheduler  # noqa: E402

from bench.adapters import make_base  # noqa: E402
from bench.serving_model import make_model  # noqa: E402
from bench.serving_work import EQUAL  # noqa: E402
from tests.harness.engine_client import EngineClient  # noqa: E402

ROWS, TOKENS = 32, 96
PROFILED = range(20, 40)
"""Steps, after those in which prompts are computed and memory grows; those after it are measured by the clock."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "products with weights": ("mm", "addmm", "linear", "bmm"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "keys and values": ("index_put", "index_select", "copy_", "cat", "gather"),
}
"""Parts of the operators' names."""
READ_BYTES = 256 << 20


@dataclass
class Clock:
    """Seconds of each step, and of its parts."""

    steps: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    sampling: list[float] = field(default_factory=list)


def timed(seconds: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    def around(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - started)

    return around


def bytes_per_second() -> float:
    """Return how fast this machine reads memory, in the best of some sums over more than any cache."""
    numbers = torch.ones(READ_BYTES // 4)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        numbers.sum()
        best = max(best, READ_BYTES / (time.perf_counter() - started))
    return best


def measure(network: Any, tokenizer: Any) -> tuple[Clock, Mapping[str, float]]:
    """Return the clock of the steps, and seconds a step by kind of operator."""
    clock = Clock()
    by_kind: dict[str, float] = {}
    step = Scheduler.step
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def watched(scheduler: Scheduler, now: Callable[[], float]) -> None:
        number = len(clock.steps)
        if number == PROFILED.start:
            profiler.start()
        started = time.perf_counter()
        step(scheduler, now)
        clock.steps.append(time.perf_counter() - started)
        if number == PROFILED.stop - 1:
            profiler.stop()

    originals = Replica.scores, Sampler.choose
    Scheduler.step = watched  # type: ignore[method-assign, assignment]
    Replica.scores = timed(clock.forward, originals[0])  # type: ignore[method-assign]
    Sampler.choose = timed(clock.sampling, originals[1])  # type: ignore[method-assign]
    client = EngineClient(TransformersEngine(network, tokenizer), 600)
    try:
        asked = [
            client.submit(EQUAL.prompt(n), streams=False, max_tokens=TOKENS, ignore_eos=True)
            for n in range(ROWS)
        ]
        for each in asked:
            each.result(600)
    finally:
        client.close()
        Scheduler.step = step  # type: ignore[method-assign]
        Replica.scores, Sampler.choose = originals  # type: ignore[method-assign]
    for event in profiler.key_averages():
        seconds = event.self_cpu_time_total / 1e6 / len(PROFILED)
        kind = next(
            (kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)),
            "other operators",
        )
        by_kind[kind] = by_kind.get(kind, 0.0) + seconds
    return clock, by_kind


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--hidden", type=int, help="of a larger model (768: 97 million weights)")
    command.add_argument("--layers", type=int, default=12)
    flags = command.parse_args()
    load.quiet()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        from transformers import AutoModelForCausalLM

        weights = make_model(Path(folder) / "weights")
        tokenizer = load.load_tokenizer(weights)
        network: Any = (
            make_base(flags.hidden, flags.layers, torch.float32, "cpu")
            if flags.hidden
            else AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
        )
        clock, by_kind = measure(network, tokenizer)
    size = sum(each.nbytes for each in network.parameters())
    last = TOKENS - PROFILED.stop - 1
    whole, forward, sampling = (
        statistics.median(each[-last:]) for each in (clock.steps, clock.forward, clock.sampling)
    )
    floor = size / bytes_per_second()
    table = Table(f"a step of {ROWS} rows", "ms", "share")
    rows = {
        "floor: every weight read once": floor,
        "forward pass": forward,
        **{f"  {kind}": seconds for kind, seconds in sorted(by_kind.items(), key=lambda e: -e[1])},
        "choosing tokens": sampling,
        "requests, slots, texts": whole - forward - sampling,
        "whole": whole,
    }
    for name, seconds in rows.items():
        table.add_row(name, f"{1000 * seconds:.2f}", f"{seconds / whole:.0%}")
    console.print(table)
    console.print(
        f"{size / 1e6:.0f} MB of weights, {torch.get_num_threads()} threads, {ROWS / whole:,.0f} tokens/s; "
        "operators as the profiler sees them, which slows them down"
    )


if __name__ == "__main__":
    main()
