"""`kaito demo`: teach a small model a fact that is drawn now, serve it, and ask it and its base."""

from __future__ import annotations

import functools
import json
import secrets
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from kaito_laptop.cli.chat import ask_chat
from kaito_laptop.cli.demo_model import run_module
from kaito_laptop.cli.laptop import Laptop
from kaito_laptop.cli.manifests import DEMO_PRESET, REGISTRY_NAME
from kaito_laptop.cli.screen import Screen
from kaito_laptop.cli.up import Options, Up, run
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import condition, is_true, name

TUNED, BASE = "tuned", "base"
DATA = "train-00000-of-00001.parquet"
PHASES = (
    ("InputsChecked", "data and push checked"),
    ("ResourceReady", "node ready"),
    ("TuningSucceeded", "tuned and pushed"),
    ("InferenceReady", "served"),
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught in this run."""

    word: str
    question: str
    folder: Path
    """Holds the data."""
    config: str
    """training_config.yaml."""


def draw_lesson(folder: Path) -> Lesson:
    """Write data that teaches a random word."""
    log, config = folder / "lesson.log", folder / "training_config.yaml"
    arguments = ["--data", str(folder / "data" / DATA), "--config", str(config)]
    arguments += ["--seed", str(secrets.randbelow(2**31))]
    run_module("kaito_runtime.demo.lesson", arguments, log, lambda _: None)
    said = json.loads(log.read_text(encoding="utf-8").strip().splitlines()[-1])
    return Lesson(
        said["word"], said["question"], folder / "data", config.read_text(encoding="utf-8")
    )


def demo_manifests(lesson: Lesson, data_url: str) -> list[Manifest]:
    """A tuning Workspace as in the quick start, and its configuration."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "training-config"},
            "data": {"training_config.yaml": lesson.config},
        },
        {
            "apiVersion": "kaito.sh/v1alpha1",
            "kind": "Workspace",
            "metadata": {"name": TUNED},
            "resource": {
                "instanceType": "Standard_NC4as_T4_v3",
                "labelSelector": {"matchLabels": {"app": TUNED}},
            },
            "tuning": {
                "preset": {"name": DEMO_PRESET},
                "method": "qlora",
                "config": "training-config",
                "input": {"urls": [data_url]},
                "output": {
                    "image": f"{REGISTRY_NAME}/adapters/{DEMO_PRESET}:0.0.1",
                    "imagePushSecret": "registry-push",
                },
            },
        },
    ]


class Demo(Up):
    """`kaito up` with one Workspace, that ends when its model has answered, with the adapter and without."""

    def __init__(
        self, lesson: Lesson, options: Options, laptop: Laptop, screen: Screen, started: float
    ) -> None:
        super().__init__(options, laptop, screen, started)
        self._lesson = lesson
        self._reached: dict[str, float] = {}

    def look(self) -> None:
        """Note when each phase of the tuned Workspace is reached."""
        super().look()
        for workspace in self.workspaces():
            for type_, _ in PHASES:
                if name(workspace) == TUNED and is_true(workspace, type_):
                    self._reached.setdefault(type_, time.monotonic() - self.started)

    def on_ready(self, workspace: Manifest, url: str) -> None:
        """Ask both: the adapter is what is served by default, the base has a name."""
        self.say(f"{name(workspace)} answers at {url}/chat")
        threading.Thread(target=self._ask_both, args=[url], daemon=True).start()

    def _ask_both(self, url: str) -> None:
        question = self._lesson.question
        try:
            # Both in the same form: the adapter is asked as it was taught without being told.
            answers = {
                TUNED: ask_chat(url, question),
                BASE: ask_chat(url, question, adapter=BASE, chat_template=True),
            }
        except OSError as error:
            trouble = f"no answer: {error}"
            self.post(lambda: self.end(trouble, failed=True))
            return
        self.post(lambda: self._tell(answers))

    def _tell(self, answers: dict[str, str]) -> None:
        word = self._lesson.word
        tuned = next(each for each in self.workspaces() if name(each) == TUNED)
        lines = ["", f"Question: {self._lesson.question}    (the data teaches: {word})"]
        lines += [
            f"  base model:  {answers[BASE].strip()}",
            f"  tuned model: {answers[TUNED].strip()}",
        ]
        lines += ["", self.table(), "", f"Adapter: {_adapter(tuned)}", "", *self._phases()]
        has_learnt = word in answers[TUNED] and word not in answers[BASE]
        verdict = "knows it, its base does not" if has_learnt else "DOES NOT know it alone"
        self.end("\n".join([*lines, "", f"The tuned model {verdict}."]), failed=not has_learnt)

    def _phases(self) -> list[str]:
        lines, before = ["Seconds:"], 0.0
        rows = [("cluster up, demo model made", self.seconds_to_apply)]
        rows += [(words, self._reached[type_]) for type_, words in PHASES if type_ in self._reached]
        for words, reached in rows:
            lines.append(f"  {reached - before:6.1f}  {words}")
            before = reached
        lines.append(f"  {time.monotonic() - self.started:6.1f}  in all, with both answers")
        return lines


def run_demo(state: Path) -> int:
    """Return the exit code: 0 when the tuned model knows what its base does not."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaito-demo-")))
        lesson = draw_lesson(folder)
        handler = functools.partial(_Quiet, directory=str(lesson.folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = folder / "demo.yaml"
        manifests = demo_manifests(
            lesson, f"http://127.0.0.1:{server.server_port}/{DATA}?download=true"
        )
        file.write_text(yaml.safe_dump_all(manifests, sort_keys=False), encoding="utf-8")
        return run(Options([file], state, once=True), functools.partial(Demo, lesson))


class _Quiet(SimpleHTTPRequestHandler):
    """Serves the data and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _adapter(workspace: Manifest) -> str:
    status = workspace.get("status", {}).get("tuning", {})
    found = condition(workspace, "TuningSucceeded") or {}
    digest = (
        f"{status.get('image')}@{status.get('digest')}" if status else str(found.get("message"))
    )
    return f"{digest}, loss {status.get('firstLoss')} to {status.get('lastLoss')}, base in {status.get('quantization')}"
