"""Termination messages and exit codes, as docs/pods.md says."""

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Never

import pytest

from kaito_contract.reasons import Reason
from kaito_contract.termination import LIMIT_BYTES
from kaito_runtime.pod import logs, termination
from kaito_runtime.pod.termination import Failure, Retryable

Program = Callable[[], Mapping[str, Any] | None]
End = Callable[[Program], tuple[str | int | None, Any]]


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[End]:
    """Run a program and return its exit code and termination message."""
    monkeypatch.setenv("KAITO_ROOT", str(tmp_path))

    def call(program: Program) -> tuple[str | int | None, Any]:
        with pytest.raises(SystemExit) as caught:
            termination.run(program)
        log = tmp_path / "dev/termination-log"
        return caught.value.code, json.loads(log.read_text()) if log.exists() else None

    yield call
    logging.getLogger(logs.LOGGER).handlers = []


def raising(error: BaseException) -> Program:
    def program() -> Never:
        raise error

    return program


def test_success_is_the_result_as_json(end: End) -> None:
    assert end(lambda: {"bytes": 1}) == (0, {"bytes": 1})


def test_a_failure_is_its_reason_and_sentence(end: End, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = end(raising(Failure(Reason.DATA_EMPTY, "write a row")))
    assert (code, message) == (1, {"reason": "DataEmpty", "message": "write a row"})
    assert capsys.readouterr().err.endswith(" ERROR DataEmpty: write a row\n")


def test_a_failure_that_may_pass_has_an_exit_code_of_its_own(end: End) -> None:
    code, message = end(raising(Retryable(Reason.REGISTRY_UNREACHABLE, "no answer")))
    assert (code, message["reason"]) == (75, "RegistryUnreachable")


def test_a_process_that_lost_its_peer_leaves_the_reason_that_the_peer_has_written(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    lost = raising(Failure(Reason.PEER_LOST, "closed by peer"))
    assert end(lost) == (1, {"reason": "PeerLost", "message": "closed by peer"})
    end(raising(Failure(Reason.OUT_OF_MEMORY, "the GPU's memory is exhausted")))
    assert end(lost)[1]["reason"] == "OutOfMemory"


def test_a_full_disk_is_disk_full(end: End) -> None:
    code, message = end(raising(OSError(errno.ENOSPC, "No space left on device", "/mnt/data/x")))
    assert (code, message["reason"]) == (1, "DiskFull")


def test_a_fault_of_our_own_shows_no_value_in_the_message(end: End) -> None:
    code, message = end(raising(KeyError("password")))
    assert (code, message["reason"]) == (1, "InternalError")
    assert "password" not in message["message"]


def test_a_long_message_is_cut_to_the_limit(end: End) -> None:
    _, message = end(raising(Failure(Reason.CONFIG_INVALID, "ü" * 9000)))
    assert len(json.dumps(message).encode()) <= LIMIT_BYTES


@pytest.mark.parametrize("module", ["check", "transfer.pull", "transfer.push"])
def test_a_wrong_command_line_is_code_2_without_a_traceback(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"kaito_runtime.{module}", "--nonsense"],
        env={"KAITO_ROOT": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    message = json.loads((tmp_path / "dev/termination-log").read_text())
    assert message["reason"] == "ConfigInvalid"
