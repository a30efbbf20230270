"""`kaito up`: bring everything up, apply the files, tell what happens, answer a question."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from kaito_hooks.kube.quantities import binary
from kaito_hooks.presets import parse_presets
from kaito_hooks.web.workspace import read_presets
from kaito_laptop.cli import changes, control_answers, demo_model, manifests
from kaito_laptop.cli.chat import ask_chat
from kaito_laptop.cli.control_server import ControlServer
from kaito_laptop.cli.laptop import Laptop, Sizes, running_laptop
from kaito_laptop.cli.manifests import DEMO_PRESET, REGISTRY_NAME
from kaito_laptop.cli.progress import Progress
from kaito_laptop.cli.screen import Screen
from kaito_laptop.core import state_folder
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import ClusterError, Manifest
from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import condition, is_true, name, namespace, uid

LOOK_SECONDS = 0.5


class UpError(LaptopError):
    """`kaito up` cannot go on."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    files: Sequence[Path]
    state: Path
    question: str = ""
    once: bool = False
    keep: bool = False


class Interrupts:
    """Ctrl-C lets the event loop end its piece of work: an exception in its middle leaves locks held."""

    def __init__(self, event_loop: EventLoop) -> None:
        self.came = False
        self.is_up = False
        """Whether the event loop runs; before that nobody but an exception ends what is under way."""
        self._event_loop = event_loop
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_up or self.came:
            raise KeyboardInterrupt
        self.came = True
        self._event_loop.stop()


class Up:
    """One run, in the main thread; what comes from other threads is posted."""

    def __init__(self, options: Options, laptop: Laptop, screen: Screen, started: float) -> None:
        """`started` is when the command began, on the monotonic clock."""
        self.failed = False
        self.started = started
        self.seconds_to_apply = 0.0
        """How long it took until the files were applied."""
        self._options = options
        self._laptop = laptop
        self._screen = screen
        self._progress = Progress(laptop, screen)
        self._has_demo_model = False
        self._ready: set[str] = set()

    def apply(self, found: Sequence[Manifest]) -> None:
        """Make the demo's model if it is asked for, and apply the objects."""
        if DEMO_PRESET in manifests.presets(found):
            started = time.monotonic()
            demo_model.provide(self._laptop, self._screen.pass_on)
            self._has_demo_model = True
            seconds = time.monotonic() - started
            self.say(f"The demo model is in the registry after {seconds:.1f} s")
        try:
            for line in changes.apply_all(self._laptop, found):
                self.say(line)
        except ClusterError as error:
            raise UpError(error.message) from error
        self.seconds_to_apply = time.monotonic() - self.started

    def answer(self, question: Mapping[str, Any]) -> Any:
        """Answer another terminal."""
        if "change" in question:
            return changes.change(self._laptop, question, has_demo_model=self._has_demo_model)
        return control_answers.answer(self._laptop, question)

    def look(self) -> None:
        """Print what is news, and notice Workspaces that have come up or cannot."""
        self._progress.look()
        for workspace in self.workspaces():
            if is_true(workspace, "Stalled") and self._options.once:
                ready = condition(workspace, "Ready") or {}
                self.end(f"{name(workspace)} cannot succeed: {ready.get('message')}", failed=True)
            elif is_true(workspace, "Ready") and uid(workspace) not in self._ready:
                url = self._laptop.services.url(name(workspace), 80, namespace(workspace))
                self._ready.add(uid(workspace))
                self.on_ready(workspace, url or "")

    def on_ready(self, workspace: Manifest, url: str) -> None:
        """Say where a Workspace answers, and ask the question if there is one."""
        question = self._options.question
        if not url:
            self.say(f"{name(workspace)} is ready; nothing is served")
        else:
            body = json.dumps({"prompt": question or "YOUR QUESTION HERE"}, ensure_ascii=False)
            self.say(f"{name(workspace)} answers at {url}/chat")
            self.say(
                f'  curl -X POST {url}/chat -H "Content-Type: application/json" '
                f"-d {shlex.quote(body)}"
            )
        if url and question:
            threading.Thread(target=self._ask, args=(url,), daemon=True).start()
        elif self._options.once and len(self._ready) == len(self.workspaces()):
            self.end("")
        elif not self._options.once:
            self.say("Ctrl-C ends all processes")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._screen.say(text)

    def post(self, act: Callable[[], None]) -> None:
        """Do something in the main thread; may be called from any thread."""
        self._laptop.event_loop.post(act)

    def end(self, text: str, *, failed: bool = False) -> None:
        """End the run with last words."""
        if text:
            self.say(text)
        self.failed = failed
        self._laptop.event_loop.stop()

    def workspaces(self) -> Sequence[Manifest]:
        """Return the Workspaces as they are now."""
        cluster = self._laptop.cluster
        return cluster.list(cluster.resource("kaito.sh/v1alpha1", "Workspace"))

    def table(self) -> str:
        """Return the Workspaces as `kaito get` prints them."""
        return str(self.answer({"kind": "Workspace"})["table"])

    def _ask(self, url: str) -> None:
        question = self._options.question
        try:
            result, failed = ask_chat(url, question), False
        except OSError as error:
            result, failed = f"no answer: {error}", True
        self.post(lambda: self._answered(f"{question}\n{result}", failed))

    def _answered(self, text: str, failed: bool) -> None:
        if self._options.once:
            self.end(text, failed=failed)
        else:
            self.say(text)


Make = Callable[[Options, Laptop, Screen, float], Up]


def run(options: Options, make: Make = Up) -> int:
    """Return the exit code: 0, or 1 when `--once` saw a Workspace that cannot succeed."""
    started = time.monotonic()
    found = manifests.read(options.files)
    event_loop, screen, failed = EventLoop(RealClock()), Screen(), False
    with ExitStack() as stack:
        stack.enter_context(state_folder.taken(options.state, keep=options.keep))
        interrupts = Interrupts(event_loop)
        stack.callback(screen.close)
        try:
            laptop = stack.enter_context(running_laptop(options.state, event_loop, _sizes()))
            screen.say(
                f"The laptop cluster is up after {time.monotonic() - started:.1f} s; {REGISTRY_NAME} "
                f"is {laptop.registry.address}, state is in {options.state}"
            )
            up = make(options, laptop, screen, started)
            stack.enter_context(ControlServer(options.state, event_loop, up.answer))
            up.apply(found)
            event_loop.every(LOOK_SECONDS, up.look)
            interrupts.is_up = True
            event_loop.run()
            failed = up.failed
        except KeyboardInterrupt:
            interrupts.came = True
        if interrupts.came:
            screen.say("Ending all processes")
    return 1 if failed else 0


def _sizes() -> Sizes:
    sizes = parse_presets(read_presets()).instance_types
    return Sizes(
        {size: each.gpus for size, each in sizes.items()},
        {size: binary(each.host_memory) for size, each in sizes.items()},
    )
