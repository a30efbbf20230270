"""The weights of the preset `tiny-demo`: made on this computer, put into the registry."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from kaito_hooks.presets import parse_presets
from kaito_hooks.web.workspace import read_presets
from kaito_laptop.cli.laptop import PRESETS, Laptop
from kaito_laptop.cli.manifests import DEMO_PRESET
from kaito_laptop.core.child_process import ChildProcess
from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.log_files import tail
from kaito_laptop.core.state_folder import DEMO_CREDENTIALS, DEMO_MODEL, LOGS


class DemoModelError(LaptopError):
    """The model could not be made; the message has the end of the program's output."""


def provide(laptop: Laptop, say: Callable[[str], None]) -> None:
    """Make the model, or take it from the cache, and push it as the image that its preset names."""
    credentials = laptop.state / DEMO_CREDENTIALS
    credentials.touch(mode=0o600)
    credentials.write_text(laptop.docker_config(), encoding="utf-8")
    image = parse_presets(read_presets()).presets[DEMO_PRESET].weights.image
    place = f"{laptop.registry.address}/{PRESETS}/{image}"
    arguments = ["--to", str(laptop.state / DEMO_MODEL), "--push", place]
    arguments += ["--credentials", str(credentials)]
    run_module("kaito_runtime.demo.make", arguments, laptop.state / LOGS / "demo-model.log", say)


def run_module(
    module: str, arguments: Sequence[str], log: Path, say: Callable[[str], None]
) -> None:
    """Run a program of the runtime to its end and pass on what it says; raise if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    ended = threading.Event()
    codes: list[int] = []

    def over(code: int) -> None:
        codes.append(code)
        ended.set()

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        # Its termination message goes where a pod's would, not to /dev of this computer.
        "KAITO_ROOT": str(log.parent / f"{log.stem}-root"),
    }
    process = ChildProcess([sys.executable, "-m", module, *arguments], environment, log, over)
    try:
        while not ended.wait(0.5):
            say(tail(log).rpartition("\n")[2])
    finally:
        process.kill()
    if codes[0] != 0:
        raise DemoModelError(f"{module} failed:\n{tail(log)}")
