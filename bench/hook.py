"""`make bench-hook`: the Workspace hook behind gunicorn against an empty Flask app of the same sizes, in one run.

Open loop: requests leave on the clock. Closed loop: eight connections ask as fast as they are answered; both
apps in turn, round by round.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaito_laptop.cli.hook_processes import HookProcess

from bench import hooks
from bench.load import Target, ask, closed_loop, open_loop
from bench.processes import children_of, cpu_seconds, memory_mib
from bench.requests import Moment, moments

GOAL_P99_MS, GOAL_SHARE, GOAL_MIB = 15, 0.7, 80
OPEN_RATE, OPEN_SECONDS = 100, 10
CLOSED_CONNECTIONS, CLOSED_SECONDS, ROUNDS = 8, 0.5, 30
"""Short turns: what else the machine does then hits both alike."""


@dataclass(frozen=True)
class Turn:
    answers: int
    cpu: float
    """Seconds of a processor that they took."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / CLOSED_SECONDS


def main() -> int:
    """Print the figures; exit code 1 when one misses its goal."""
    print(f"{os.cpu_count()} cores; goals: p99 <= {GOAL_P99_MS} ms, rate >= {GOAL_SHARE:.0%}")
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with hooks.running(hooks.OURS, hooks.SETTINGS, logs / "hook.log") as hook:
            target = Target.of(hook.address, "/workspace/sync")
            good = [compare(hook, moment, logs) for moment in moments(lambda b: ask(target, b))]
            memory = memory_mib(children_of(hook.pid))
    print(f"worker memory: {memory:.0f} MiB (goal <= {GOAL_MIB})")
    return 0 if all(good) and memory <= GOAL_MIB else 1


def compare(hook: HookProcess, moment: Moment, folder: Path) -> bool:
    """One request against both apps; whether the goals are met."""
    ours = Target.of(hook.address, "/workspace/sync")
    answer = json.dumps(ask(ours, moment.body))
    (folder / "answer").write_text(answer, encoding="utf-8")
    print(f"{moment.name}: request {len(moment.body):,} bytes, answer {len(answer):,}", flush=True)
    settings = {"ANSWER": str(folder / "answer")}
    with hooks.running("bench.empty_app:create_app()", settings, folder / "empty.log") as peer:
        empty = Target.of(peer.address, "/sync")
        for target in (ours, empty):  # warm
            asyncio.run(closed_loop(target, moment.body, CLOSED_CONNECTIONS, 1))
        p99 = latency("hook", ours, moment.body)
        latency("empty app", empty, moment.body)
        turns = [
            (throughput(hook, ours, moment.body), throughput(peer, empty, moment.body))
            for _ in range(ROUNDS)
        ]
    shares = sorted(mine.rate / floor.rate for mine, floor in turns)
    share = statistics.median(shares)
    tell("hook", [mine for mine, _ in turns])
    tell("empty app", [floor for _, floor in turns])
    print(
        f"  closed loop: {shares[0]:.0%} / {share:.0%} / {shares[-1]:.0%} of the empty app's rate "
        f"(min / median / max of {ROUNDS} turns)",
        flush=True,
    )
    return p99 <= GOAL_P99_MS and share >= GOAL_SHARE


def latency(name: str, target: Target, body: bytes) -> float:
    """p99 of the open loop in milliseconds."""
    seconds = sorted(asyncio.run(open_loop(target, body, OPEN_RATE, OPEN_SECONDS)))
    p50, p99 = (seconds[int(len(seconds) * share)] * 1000 for share in (0.5, 0.99))
    print(
        f"  open loop at {OPEN_RATE}/s: {name} p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        flush=True,
    )
    return p99


def throughput(app: HookProcess, target: Target, body: bytes) -> Turn:
    """As many answers as one turn gives."""
    workers = children_of(app.pid)
    before = cpu_seconds(workers)
    count = asyncio.run(closed_loop(target, body, CLOSED_CONNECTIONS, CLOSED_SECONDS))
    return Turn(count, cpu_seconds(workers) - before)


def tell(name: str, turns: Sequence[Turn]) -> None:
    rate = statistics.median(turn.rate for turn in turns)
    cost = sum(turn.cpu for turn in turns) / sum(turn.answers for turn in turns) * 1000
    print(f"  {name}: {rate:,.0f}/s, {cost:.2f} ms of a processor each")


if __name__ == "__main__":
    sys.exit(main())
