"""`kaito up`: bring everything up, apply the files, tell what happens, answer a question."""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from kaito_hooks.kube.quantities import binary
from kaito_hooks.presets import parse_presets
from kaito_hooks.web.workspace import read_presets
from kaito_laptop.cli import demo_model, manifests
from kaito_laptop.cli.changes import apply_all
from kaito_laptop.cli.control_answers import answer
from kaito_laptop.cli.control_api import Inspection
from kaito_laptop.cli.laptop import REGISTRY_NAME, Laptop
from kaito_laptop.cli.progress import Progress
from kaito_laptop.core import state_folder
from kaito_laptop.core.cluster import ClusterError, Manifest
from kaito_laptop.core.objects import condition, is_true, name, namespace, uid

LOOK_SECONDS = 0.5
ANSWER_SECONDS = 120.0


class UpError(Exception):
    """`kaito up` cannot go on; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    files: Sequence[Path]
    state: Path
    question: str = ""
    once: bool = False
    keep: bool = False


class Up:
    """One run, in the main thread; what comes from other threads is posted."""

    def __init__(self, options: Options) -> None:
        self.seconds_to_apply = 0.0
        """How long it took until the files were applied."""
        self._options = options
        self._laptop = Laptop(options.state)
        self._progress = Progress(self._laptop)
        self._ready: set[str] = set()
        self._failed = False
        self._is_up = False
        self._interrupted = False

    def run(self) -> int:
        """Return the exit code: 0, or 1 when `--once` saw a Workspace that cannot succeed."""
        started = time.monotonic()
        found = manifests.read(self._options.files)
        with state_folder.taken(self._options.state, keep=self._options.keep):
            self._run(found, started)
        return 1 if self._failed else 0

    def _run(self, found: list[Manifest], started: float) -> None:
        inspection = Inspection(
            self._options.state,
            self._laptop.event_loop,
            lambda question: answer(self._laptop, question),
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        inspection.start()
        try:
            self._start(found)
            self.seconds_to_apply = time.monotonic() - started
            self._laptop.event_loop.every(LOOK_SECONDS, self.look)
            self._is_up = True
            self._laptop.event_loop.run()
        except KeyboardInterrupt:
            self._interrupted = True
        finally:
            if self._interrupted:
                self.say("Ending all processes")
            inspection.stop()
            self._laptop.stop()

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
        self._progress.say(text)

    def post(self, act: Callable[[], None]) -> None:
        """Do something in the main thread; may be called from any thread."""
        self._laptop.event_loop.post(act)

    def end(self, text: str, *, failed: bool = False) -> None:
        """End the run with last words."""
        if text:
            self.say(text)
        self._failed = failed
        self._laptop.event_loop.stop()

    def workspaces(self) -> Sequence[Manifest]:
        """Return the Workspaces as they are now."""
        cluster = self._laptop.cluster
        return cluster.list(cluster.resource("kaito.sh/v1alpha1", "Workspace"))

    def table(self) -> str:
        """Return the Workspaces as `kaito get` prints them."""
        return str(answer(self._laptop, {"kind": "Workspace"})["table"])

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Let the event loop end its piece of work: an exception in its middle leaves locks held."""
        if not self._is_up or self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._laptop.event_loop.stop()

    def _start(self, found: list[Manifest]) -> None:
        presets = parse_presets(read_presets())
        sizes = presets.instance_types
        gpus = {size: each.gpus for size, each in sizes.items()}
        memory = {size: binary(each.host_memory) for size, each in sizes.items()}
        started = time.monotonic()
        self._laptop.start(gpus, memory)
        seconds = time.monotonic() - started
        self.say(
            f"The laptop cluster is up after {seconds:.1f} s; {REGISTRY_NAME} is "
            f"{self._laptop.registry.address}, state is in {self._options.state}"
        )
        if demo_model.PRESET in manifests.presets(found):
            weights = presets.presets[demo_model.PRESET].weights
            started = time.monotonic()
            say = self._progress.pass_on
            demo_model.provide(self._laptop, weights.image, say)
            self._laptop.has_demo_model = True
            seconds = time.monotonic() - started
            self.say(f"The demo model is in the registry after {seconds:.1f} s")
        try:
            for line in apply_all(self._laptop, found):
                self.say(line)
        except ClusterError as error:
            raise UpError(error.message) from error

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


def ask_chat(url: str, question: str, **more: Any) -> str:
    """Return the likeliest answer of the model, without the question; raise `OSError` if there is none.

    `more` goes into the body of the request as it is.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.netloc), timeout=ANSWER_SECONDS)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", "/chat", json.dumps(chat_body(question) | more), headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"status {response.status}: {body.decode(errors='replace')[:200]}")
    return str(json.loads(body)["Result"])


def chat_body(question: str) -> dict[str, Any]:
    """Greedy: Kaito's default draws the answer, and a drawn one differs each time."""
    greedy = {"do_sample": False, "max_new_tokens": 64}
    return {"prompt": question, "return_full_text": False, "generate_kwargs": greedy}
