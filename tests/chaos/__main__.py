"""Many runs, and what they came to: `make chaos RUNS=10000`, or python -m chaos [--first SEED] [--mutations]."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.chaos.driver import KINDS, run
from tests.chaos.mutations import MUTATIONS

CHUNK = 25
QUIET_SECONDS = 2.0
"""A run that is over sooner prints no progress; where a line can't be rewritten, one comes each ten times that."""


class Progress:
    """How far it is, on standard error: the figures alone are on standard output."""

    def __init__(self, runs: int) -> None:
        self._runs = runs
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def say(self, done: int, wrong: int) -> None:
        """Say it, unless it was said a moment ago."""
        pause = QUIET_SECONDS if sys.stderr.isatty() else 10 * QUIET_SECONDS
        if time.monotonic() - self._said < (QUIET_SECONDS if self._is_first else pause):
            return
        self._is_first, self._said = False, time.monotonic()
        left = self.seconds / done * (self._runs - done)
        text = f"{done} of {self._runs} runs, {wrong} broke a promise, about {left:.0f} s left"
        print(text, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    _is_first = True


@dataclass(slots=True)
class Total:
    """The sum of many runs."""

    runs: int = 0
    machines: int = 0
    calls: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, list[int]] = field(default_factory=dict)
    """Seeds by kind."""

    def add(self, other: Total) -> None:
        """Join the runs of another process."""
        self.runs += other.runs
        self.machines += other.machines
        self.calls += other.calls
        self.requests += other.requests
        self.faults.update(other.faults)
        for kind, seeds in other.wrong.items():
            self.wrong.setdefault(kind, []).extend(seeds)


def play(seeds: range) -> Total:
    """Run these seeds."""
    total = Total()
    for seed in seeds:
        result = run(seed)
        total.runs += 1
        total.machines += result.machines
        total.calls += result.calls
        total.requests += result.requests
        total.faults.update(result.faults)
        for kind in {kind for kind, _ in result.wrong}:
            total.wrong.setdefault(kind, []).append(seed)
    return total


def report(total: Total, seconds: float) -> str:
    """The figures, one a line."""
    lines = [
        f"runs {total.runs}  machines {total.machines}  hook calls {total.calls}  "
        f"requests to Azure {total.requests}  seconds {seconds:.0f}",
        f"faults injected {total.faults.total()}",
        *(f"  {count:8}  {kind}" for kind, count in total.faults.most_common()),
        "found",
    ]
    for kind in KINDS:
        seeds = sorted(total.wrong.get(kind, []))
        lines.append(f"  {len(seeds):8}  {kind}" + (f"  seeds {seeds[:8]}" if seeds else ""))
    return "\n".join(lines)


def first_found(name: str, most: int) -> str:
    """The first seed whose run notices that a rule is missing."""
    mutation, kind = MUTATIONS[name]
    for seed in range(most):
        kinds = {found for found, _ in run(seed, mutation).wrong}
        if kind in kinds:
            return f"{name}: {kind}, seed {seed}"
    return f"{name}: not found in {most} runs"


def main() -> int:
    """Return 1 when a promise was broken, or when the lack of a rule goes unnoticed."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--mutations", action="store_true", help="switch each rule off in turn")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) as pool:
        if options.mutations:
            found = list(pool.map(first_found, MUTATIONS, [options.runs] * len(MUTATIONS)))
            print("\n".join(found))
            return int(any("not found" in line for line in found))
        progress, total = Progress(options.runs), Total()
        last = options.first + options.runs
        chunks = [range(at, min(at + CHUNK, last)) for at in range(options.first, last, CHUNK)]
        for part in pool.map(play, chunks):
            total.add(part)
            progress.say(total.runs, len(set().union(*total.wrong.values())))
        print(report(total, progress.seconds))
        return int(bool(total.wrong))


if __name__ == "__main__":
    sys.exit(main())
