"""`make bench-operator N=1000`: N Workspaces at once on a real API server, and then a full resync.

Beside ours, in the same run, a hook that decides nothing and returns the same children and status: what is
over its time is ours. Jobs make no pods unless asked to: at each change of a pod Metacontroller goes through all
Workspaces, which at 10,000 takes longer than all that is measured here, and hides what the hook costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import hooks, loops, scale
from bench.load import Target, ask
from bench.scale import Bench, Figures
from tests.e2e import metacontroller
from tests.harness.builders import merged, request

FLOOR = "bench.floor_hook:create_app()"


def main() -> int:
    """Print the figures of both; exit code 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--pods", action="store_true", help="let the Jobs make pods, which stay Pending"
    )
    asked = parser.parse_args()
    program = metacontroller.find()
    problem = metacontroller.too_old(metacontroller.says(program)) if program else ""
    if problem:
        print(problem, file=sys.stderr)
        return 1
    pods = "with pods" if asked.pods else "no pods"
    print(f"{asked.count:,} Workspaces, {pods}, {loops.name_of(program)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        answers = sample_answers(Path(folder))
        rounds = [
            (
                measure("floor", FLOOR, answers, Path(folder), asked, program),
                measure("ours", hooks.OURS, hooks.SETTINGS, Path(folder), asked, program),
            )
            for _ in range(asked.rounds)
        ]
    return verdict(rounds, goal=1.5 if asked.count <= 1000 else 1.7)


def sample_answers(folder: Path) -> Mapping[str, str]:
    """Settings of the floor: what our hook answers to the first sync and to customize, with a mark for the name."""
    named = scale.workspace("name-of-workspace")
    parent = merged(named, {"metadata": {"uid": "u", "generation": 1}})
    body = json.dumps(request(parent)).encode()
    with hooks.running(hooks.OURS, hooks.SETTINGS, folder / "first.log") as hook:
        for route in ("sync", "customize"):
            answer = ask(Target.of(hook.address, f"/workspace/{route}"), body)
            answer.pop("resyncAfterSeconds", None)
            text = json.dumps(answer).replace("name-of-workspace", "NAME-OF-WORKSPACE")
            (folder / route).write_text(text, encoding="utf-8")
    return {"ANSWERS": str(folder)}


def measure(
    name: str,
    app: str,
    settings: Mapping[str, str],
    folder: Path,
    asked: argparse.Namespace,
    program: str | None,
) -> Figures:
    """One hook on a control plane of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        log = Path(own) / "hook.log"
        with hooks.running(app, settings, log) as hook, scale.plane(asked.pods) as plane:
            found = Bench(plane, hook, log, asked.count).run(program)
    tell(name, found)
    return found


def tell(name: str, found: Figures) -> None:
    """The figures of one measurement, a line for each part."""
    for line in (
        f"children after {found.seconds:.1f} s, {found.requests:.1f} requests and {found.calls:.1f} hook calls "
        f"a Workspace, {found.refused} refused",
        f"hook {found.hook_cpu_ms:.1f} ms of a processor a Workspace, {found.hook_mib:.0f} MiB, "
        f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms; loop {found.loop_mib:.0f} MiB",
        f"resync {found.resync_seconds:.1f} s, {found.resync_writes} writes",
    ):
        scale.say(f"{name}: {line}")


def verdict(rounds: Sequence[tuple[Figures, Figures]], goal: float) -> int:
    """Ours against the floor over all rounds."""
    ratios = sorted(ours.seconds / floor.seconds for floor, ours in rounds)
    ratio = statistics.median(ratios)
    writes = max(ours.resync_writes for _, ours in rounds)
    print(
        f"ours / floor: {ratios[0]:.2f} / {ratio:.2f} / {ratios[-1]:.2f} (min / median / max of {len(ratios)}; "
        f"goal <= {goal}); resync writes {writes} (goal 0)"
    )
    return 0 if ratio <= goal and writes == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
