"""The model server at 32 clients beside its peers: same model, same prompts, same run, medians of three.

python -m bench.serving [--url http://...] [--only "mixed lengths, streamed"]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kaito_laptop.core.child_process import free_port

from bench import serving_work
from bench.chat_load import Load, Question, measure
from bench.processes import memory_mib
from bench.serving_model import make_adapters, make_model
from bench.serving_work import ADAPTERS, EQUAL, LEAST, LONG, MIXED, OWN, WORKS, Work

CLIENTS, ROUNDS, REPEATS = 32, 2, 3
START_SECONDS = 300
VLLM = Path(".venv-vllm/bin/python")
OURS, PIPELINES, STATIC = "ours", "a pipeline for each thread", "raw static batch"
GOALS: Sequence[tuple[str, Callable[[Figures], float | None], float, bool]] = (
    ("equal settings : raw static batch", lambda f: f.ratio(EQUAL, OURS, EQUAL, STATIC), 0.9, True),
    ("own settings : equal settings", lambda f: f.ratio(OWN, OURS, EQUAL, OURS), 0.85, True),
    ("min_new_tokens : equal settings", lambda f: f.ratio(LEAST, OURS, EQUAL, OURS), 0.85, True),
    ("four adapters : equal settings", lambda f: f.ratio(ADAPTERS, OURS, EQUAL, OURS), 0.8, True),
    ("mixed lengths : vLLM", lambda f: f.ratio(MIXED, OURS, MIXED, "vLLM"), 1.3, True),
    ("time to first token : vLLM", lambda f: f.first(OURS, "vLLM"), 1.0, False),
    ("first token after start : pipelines", lambda f: f.start(OURS, PIPELINES), 1.1, False),
)
"""What is compared, the figure, the goal, and whether it is a least (or a most)."""


@dataclass
class Peer:
    """Something that answers."""

    name: str
    url: str
    ask: Callable[[Work, int], Question]
    start_seconds: float | None = None
    pid: int | None = None

    def can(self, work: Work) -> bool:
        """Whether it has what the work needs."""
        is_chat = self.ask is serving_work.chat
        return not (is_chat and work.streams) and (work is not ADAPTERS or self.name == OURS)


@dataclass
class Figures:
    """Medians, by work and peer."""

    rates: dict[tuple[str, str], float] = field(default_factory=dict)
    firsts: dict[str, float] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)

    def ratio(self, one: Work, peer: str, other: Work, than: str) -> float | None:
        mine, theirs = self.rates.get((one.name, peer)), self.rates.get((other.name, than))
        return mine / theirs if mine and theirs else None

    def first(self, one: str, other: str) -> float | None:
        mine, theirs = self.firsts.get(one), self.firsts.get(other)
        return mine / theirs if mine and theirs else None

    def start(self, one: str, other: str) -> float | None:
        mine, theirs = self.starts.get(one), self.starts.get(other)
        return mine / theirs if mine and theirs else None


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--url", help="another server with OpenAI's API, which serves `base`")
    flags.add_argument("--only", choices=[work.name for work in WORKS], action="append")
    given = flags.parse_args()
    works = [work for work in WORKS if not given.only or work.name in given.only]
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        console.print("Making a model and four adapters")
        weights = make_model(folder / "weights")
        adapters = make_adapters(weights, folder / "adapters")
        peers = [stack.enter_context(each) for each in _servers(weights, adapters)]
        if given.url:
            peers.append(Peer(given.url, given.url, serving_work.completion))
        static = stack.enter_context(_static(weights))
        figures = Figures(starts={p.name: p.start_seconds for p in peers if p.start_seconds})
        for work in works:
            _measure(work, peers, static, figures, console)
        for peer in peers:
            if peer.pid:
                console.print(f"{peer.name}: {memory_mib([peer.pid]):.0f} MiB")
    _print(figures, works, [*(p.name for p in peers), STATIC], console)


def _measure(
    work: Work, peers: Sequence[Peer], static: Any, figures: Figures, console: Console
) -> None:
    rates: dict[str, list[float]] = {}
    firsts: dict[str, list[float]] = {}
    for repeat in range(REPEATS):
        for peer in peers:
            if peer.can(work):
                found = asyncio.run(_load(peer, work, repeat))
                rates.setdefault(peer.name, []).append(found.tokens_per_second)
                firsts.setdefault(peer.name, []).append(found.first(0.5))
        if work in (EQUAL, LONG):
            prompts = [work.prompt(number) for number in range(CLIENTS)]
            seconds = static(prompts, serving_work.TOKENS)
            rates.setdefault(STATIC, []).append(CLIENTS * serving_work.TOKENS / seconds)
        console.print(f"{work.name}, {repeat + 1} of {REPEATS}")
    for name, each in rates.items():
        figures.rates[work.name, name] = statistics.median(each)
    if work is MIXED:
        figures.firsts = {name: statistics.median(each) for name, each in firsts.items()}


async def _load(peer: Peer, work: Work, repeat: int) -> Load:
    # Other prompts each time: nobody answers from what was computed before.
    first = repeat * CLIENTS * ROUNDS
    return await measure(peer.url, CLIENTS, ROUNDS, lambda number: peer.ask(work, first + number))


def _print(figures: Figures, works: Sequence[Work], names: Sequence[str], console: Console) -> None:
    table = Table("tokens/s at 32 clients", *names)
    for work in works:
        cells = [figures.rates.get((work.name, name)) for name in names]
        table.add_row(work.name, *("" if cell is None else f"{cell:,.0f}" for cell in cells))
    firsts = [figures.firsts.get(name) for name in names]
    table.add_row("first token, ms, p50", *("" if s is None else f"{1000 * s:.0f}" for s in firsts))
    starts = [figures.starts.get(name) for name in names]
    table.add_row("first token after start, s", *("" if s is None else f"{s:.1f}" for s in starts))
    console.print(table)
    for name, figure, goal, is_least in GOALS:
        value = figure(figures)
        if value is not None:
            is_met = value >= goal if is_least else value <= goal
            bound = "at least" if is_least else "at most"
            console.print(
                f"{'met   ' if is_met else 'MISSED'} {name}: {value:.2f} ({bound} {goal})"
            )


def _servers(weights: Path, adapters: Path) -> Iterator[Any]:
    python = sys.executable
    ours = [python, "-m", "kaito_runtime.serve", "--host", "127.0.0.1", "--torch_dtype", "float32"]
    ours += ["--weights", str(weights), "--adapters", str(adapters), "--port"]
    yield _server(OURS, ours, "/readyz", serving_work.completion)
    pipelines = [python, "-m", "bench.peers.pipelines", str(weights)]
    yield _server(PIPELINES, pipelines, "/", serving_work.chat)
    if VLLM.exists():
        api = [str(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", str(weights)]
        api += ["--served-model-name", "base", "--dtype", "float32", "--enforce-eager"]
        api += ["--max-model-len", "2048", "--host", "127.0.0.1", "--port"]
        yield _server("vLLM", api, "/health", serving_work.completion)


@contextmanager
def _server(
    name: str, command: Sequence[str], health: str, ask: Callable[[Work, int], Question]
) -> Iterator[Peer]:
    port = free_port()
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([*command, str(port)], env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url + health, process)
            one = ask(Work("one", EQUAL.sampling, serving_work.short, lambda _: 1), 0)
            asyncio.run(measure(url, 1, 1, lambda _: one))
            yield Peer(name, url, ask, time.monotonic() - started, process.pid)
        finally:
            process.terminate()
            process.wait(60)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not start")


@contextmanager
def _static(weights: Path) -> Iterator[Callable[[Sequence[str], int], float]]:
    command = [sys.executable, "-m", "bench.peers.static_batch", str(weights)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def run(prompts: Sequence[str], tokens: int) -> float:
            print(
                json.dumps({"prompts": prompts, "tokens": tokens}), file=process.stdin, flush=True
            )
            assert process.stdout is not None
            return float(process.stdout.readline())

        yield run
        process.stdin.close()


if __name__ == "__main__":
    main()
