"""`make bench-delay`: how much later a healthy Workspace is ready beside ten that never come up.

On a real control plane, both hooks and played pods. Counted is what the loop and the hooks need from each event
to what follows from it; not counted are the pool, which Azure makes, and the pods, which the bench plays.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import loops
from tests.e2e import binaries, metacontroller
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.install import install
from tests.e2e.our_loop import OurLoop
from tests.e2e.real_story import Loop, RealStory, real_story
from tests.harness.builders import merged
from tests.harness.story import TUNING, Story
from tests.stories.test_many import ten_that_never_come_up

GOAL_SECONDS = 1.0
WORKSPACES = 4
"""In a round, alone and beside the ten."""


class Watch:
    """Adds up the seconds that are counted."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def counts(self) -> Iterator[None]:
        """Count what this block takes."""
        began = time.monotonic()
        yield
        self.seconds += time.monotonic() - began


def main() -> int:
    """Print the seconds of each round; exit code 1 when the delay is over its goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    program = metacontroller.find()
    print(f"Healthy Workspaces beside ten that never come up, {loops.name_of(program)}", flush=True)
    proxy = HookProxy()
    plane = ControlPlane(binaries.find()).start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            install(plane, proxy.url, Path(folder))
        delays = [delay(plane, proxy, loop_of(plane, program)) for _ in range(rounds)]
    finally:
        plane.stop()
        proxy.stop()
    middle = statistics.median(delays)
    print(f"delay: {min(delays):.2f} / {middle:.2f} / {max(delays):.2f} s (goal <= {GOAL_SECONDS})")
    return 0 if middle <= GOAL_SECONDS else 1


def loop_of(plane: ControlPlane, program: str | None) -> Callable[[RealStory], Loop]:
    """Metacontroller with what ships, where there is one."""
    if program is None:
        return OurLoop
    flags = metacontroller.shipped_flags()
    return lambda story: metacontroller.MetacontrollerProcess(plane, program, flags)


def delay(plane: ControlPlane, proxy: HookProxy, loop: Callable[[RealStory], Loop]) -> float:
    """Seconds by which one is later beside the ten than alone."""
    with real_story(RealStory(plane, proxy, loop)) as story:
        alone = [becomes_ready(story, f"alone-{number}") for number in range(WORKSPACES)]
        ten_that_never_come_up(story)
        beside = [becomes_ready(story, f"beside-{number}") for number in range(WORKSPACES)]
    for name, seconds in (("alone", alone), ("beside the ten", beside)):
        print(f"  {name}: {', '.join(f'{each:.2f}' for each in sorted(seconds))} s", flush=True)
    return statistics.median(beside) - statistics.median(alone)


def becomes_ready(story: Story, name: str) -> float:
    """The counted seconds of a Workspace from apply to WorkspaceReady; it is deleted afterwards."""
    watch = Watch()
    with watch.counts():
        story.apply(merged(TUNING, {"metadata": {"name": name}}))
        story.pod(f"{name}-check")
    story.check_succeeds(name)
    with watch.counts():
        story.soon(lambda: bool(story.list("Machine", {"kaito.sh/workspace": name})))
    story.nodes_come(name)
    with watch.counts():
        story.pod(name, **{"app.kubernetes.io/component": "tuning"})
    story.tunes(name)
    with watch.counts():
        story.pod(name, **{"app.kubernetes.io/component": "inference"})
    story.serves(name)
    with watch.counts():
        story.becomes("WorkspaceReady", name)
    story.delete("Workspace", name)
    story.run_until(lambda: story.find("Workspace", name) is None)
    return watch.seconds


if __name__ == "__main__":
    sys.exit(main())
