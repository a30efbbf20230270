"""`kaito up`: bring everything up, apply the files, tell what happens, answer a question."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from kaito_hooks.presets import Presets, parse_presets
from kaito_hooks.web.workspace import read_presets
from kaito_laptop import demo_model, manifests
from kaito_laptop.apply import apply
from kaito_laptop.cluster import ClusterError, Manifest
from kaito_laptop.inspection import Inspection, is_running
from kaito_laptop.inspection_answers import answer
from kaito_laptop.laptop import REGISTRY_NAME, Laptop
from kaito_laptop.objects import condition, is_true, name, namespace
from kaito_laptop.progress import Progress
from kaito_laptop.validation import describe

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
    """One run, in the main thread."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._laptop = Laptop(options.state)
        self._progress = Progress(self._laptop)
        self._workspaces: list[Manifest] = []
        self._told: set[str] = set()
        self._failed = False

    def run(self) -> int:
        """Return the exit code: 0, or 1 when `--once` saw a Workspace that cannot succeed."""
        found = manifests.read(self._options.files)
        presets = parse_presets(read_presets())
        state = self._options.state
        if is_running(state):
            raise UpError(f"another `kaito up` uses {state}; end it, or name another --state")
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(state / "pods", ignore_errors=True)
        inspection = Inspection(
            state, self._laptop.engine, lambda question: answer(self._laptop, question)
        )
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            self._start(found, presets)
            inspection.start()
            self._laptop.engine.every(LOOK_SECONDS, self._look)
            self._laptop.engine.run()
        except KeyboardInterrupt:
            self._progress.say("Ending all processes")
        finally:
            inspection.stop()
            self._laptop.stop()
            shutil.rmtree(state / "pods", ignore_errors=True)
            if not self._options.keep:
                shutil.rmtree(state, ignore_errors=True)
        return 1 if self._failed else 0

    def _start(self, found: list[Manifest], presets: Presets) -> None:
        gpus = {size: each.gpus for size, each in presets.instance_types.items()}
        started = time.monotonic()
        self._laptop.start(gpus, {})
        seconds = time.monotonic() - started
        self._progress.say(
            f"The laptop cluster is up after {seconds:.1f} s; {REGISTRY_NAME} is "
            f"{self._laptop.registry.address}, state is in {self._options.state}"
        )
        if demo_model.PRESET in manifests.presets(found):
            weights = presets.presets[demo_model.PRESET].weights
            started = time.monotonic()
            say = self._progress.pass_on
            demo_model.provide(self._laptop, weights.image, weights.path, say)
            seconds = time.monotonic() - started
            self._progress.say(f"The demo model is in the registry after {seconds:.1f} s")
        for each in manifests.complete(found, self._laptop):
            try:
                applied = apply(self._laptop.cluster, each)
            except ClusterError as error:
                raise UpError(error.message) from error
            self._progress.say(f"{describe(each)} applied")
            if applied["kind"] == "Workspace":
                self._workspaces.append(applied)

    def _look(self) -> None:
        self._progress.look()
        kind = self._laptop.cluster.resource("kaito.sh/v1alpha1", "Workspace")
        for workspace in self._laptop.cluster.list(kind):
            if name(workspace) in self._told:
                continue
            if is_true(workspace, "Ready"):
                self._told.add(name(workspace))
                self._tell_address(workspace)
            elif is_true(workspace, "Stalled") and self._options.once:
                self._failed = True
                ready = condition(workspace, "Ready") or {}
                self._progress.say(f"{name(workspace)} cannot succeed: {ready.get('message')}")
                self._laptop.engine.stop()

    def _tell_address(self, workspace: Manifest) -> None:
        url = self._laptop.services.url(name(workspace), 80, namespace(workspace))
        if url is None:
            return
        question = self._options.question or "YOUR QUESTION HERE"
        body = json.dumps({"prompt": question}, ensure_ascii=False)
        self._progress.say(
            f"{name(workspace)} answers at {url}/chat\n"
            f'  curl -X POST {url}/chat -H "Content-Type: application/json" -d {_quoted(body)}'
        )
        if self._options.question:
            threading.Thread(target=self._ask, args=(url,), daemon=True).start()
        elif self._options.once:
            self._laptop.engine.stop()
        else:
            self._progress.say("Ctrl-C ends all processes")

    def _ask(self, url: str) -> None:
        try:
            result = ask_chat(url, self._options.question)
        except OSError as error:
            result, self._failed = f"no answer: {error}", True
        self._laptop.engine.post(self._after(f"{self._options.question}\n{result}"))

    def _after(self, text: str) -> Callable[[], None]:
        def act() -> None:
            self._progress.say(text)
            if self._options.once:
                self._laptop.engine.stop()

        return act


def ask_chat(url: str, question: str) -> str:
    """Return what the model answers; raise `OSError` if it does not."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.netloc), timeout=ANSWER_SECONDS)
    headers = {"Content-Type": "application/json"}
    try:
        connection.request("POST", "/chat", json.dumps({"prompt": question}), headers)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"status {response.status}: {body.decode(errors='replace')[:200]}")
    return str(json.loads(body)["Result"])


def _quoted(text: str) -> str:
    """Quote for the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
