from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_laptop.cli.up import Options, Up

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
    up = InterruptedAtWork(Options([EXAMPLE], tmp_path / "state"))
    assert up.run() == 0
    assert up.work_was_ended, "an exception in its middle may leave a lock held"
    assert not (tmp_path / "state").exists()
