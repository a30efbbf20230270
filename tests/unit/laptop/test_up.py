from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaito_laptop.cli.up import Options, Up, run

EXAMPLE = Path(__file__).parents[3] / "examples/fine-tuning/kaito_workspace_tuning_phi_3.yaml"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class InterruptedAtWork(Up):
    """Ctrl-C comes in the middle of a piece of work of the event loop."""

    work_was_ended = False

    def look(self) -> None:
        signal.raise_signal(signal.SIGINT)
        super().look()
        self.work_was_ended = True


def test_ctrl_c_lets_the_piece_of_work_end_that_is_being_done(tmp_path: Path) -> None:
    made: list[InterruptedAtWork] = []

    def make(*parts: Any) -> Up:
        made.append(InterruptedAtWork(*parts))
        return made[0]

    assert run(Options([EXAMPLE], tmp_path / "state"), make) == 0
    assert made[0].work_was_ended, "an exception in its middle may leave a lock held"
    assert not (tmp_path / "state").exists()


def test_the_help_of_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys; from kaito_laptop.cli.command import main; main(['--help']); "
        "print(*{each.partition('.')[0] for each in sys.modules}, file=sys.stderr)"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    loaded = set(done.stderr.decode().split())
    assert "kaito_laptop" in loaded
    assert (
        loaded & {"torch", "azure", "kubernetes", "flask", "celpy", "yaml", "kaito_hooks"} == set()
    )
