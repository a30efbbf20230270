"""What vLLM's processes say when they fail, and the reasons of the contract for it.

The exception that reaches this process names no cause; the cause is in what the other processes wrote.
"""

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kaito_contract.reasons import Reason
from kaito_runtime.models.load import is_out_of_memory
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure

log = logging.getLogger(__name__)

_STANDARD_ERROR = 2
_LINES_KEPT = 400
_PREFIX = re.compile(
    r"^(\x1b\[[\d;]*m)*(\([^)]*pid=\d+\)(\x1b\[[\d;]*m)*\s*)?([A-Z]+ \S+ \S+ \[[^\]]*\] ?)?"
)
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): .+")
_CONSEQUENCES = (
    "Engine core initialization failed",
    "WorkerProc initialization failed",
    "EngineCore encountered",
)
"""Of the failure of another process."""
_MEMORY = (
    "No available memory for the cache blocks",
    "larger than the available KV cache memory",
    "not enough GPU memory",
    "is less than desired",
    "is less than requested memory",
    "Cannot auto-fit max_model_len",
)


_WEIGHTS = ("SafetensorError", "weights were not initialized from checkpoint")


class VllmRefusedError(Exception):
    """vLLM does not do what it was asked for, in its own words."""


class EngineDiedError(Exception):
    """vLLM's processes have ended."""


class ErrorOutput:
    """What the processes that are started meanwhile write to standard error: passed on, its end kept."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._thread: threading.Thread | None = None

    @contextmanager
    def inherited(self) -> Iterator[None]:
        """Let processes that start in here write to this."""
        mine = os.dup(_STANDARD_ERROR)
        reader, writer = os.pipe()
        os.dup2(writer, _STANDARD_ERROR)
        os.close(writer)
        self._thread = threading.Thread(
            target=self._pass_on, args=(reader, os.dup(mine)), name="vllm-stderr", daemon=True
        )
        self._thread.start()
        try:
            yield
        finally:
            os.dup2(mine, _STANDARD_ERROR)
            os.close(mine)

    def join(self) -> None:
        """Wait until all processes that write to this have ended, for a second at most."""
        if self._thread is not None:
            self._thread.join(1.0)

    def causes(self) -> list[str]:
        """Return the first line of each exception, without what only follows from another."""
        bare = (_PREFIX.sub("", line).strip() for line in tuple(self._lines))
        return [
            line
            for line in bare
            if _ERROR.match(line) and not any(words in line for words in _CONSEQUENCES)
        ]

    def _pass_on(self, reader: int, writer: int) -> None:
        with open(reader, "rb") as lines, open(writer, "wb", buffering=0) as out:
            for line in lines:
                self._lines.append(line.decode(errors="replace"))
                with suppress(OSError):  # nobody reads it, and a full pipe would stop vLLM
                    out.write(line)


def failure_of_start(error: BaseException, causes: list[str]) -> Failure:
    """Return why vLLM did not start."""
    told = causes or [f"{type(error).__name__}: {error}"]
    known = _known_failure(told)
    if known is not None:
        return known
    log.error("vLLM failed to start", exc_info=error)
    return Failure(
        Reason.INTERNAL_ERROR,
        f"vLLM failed to start ({_first_line(told[0])}); the log has the details. Another size or "
        "another release of vLLM may help, and the transformers engine serves this model as well",
    )


def failure_of_death(causes: list[str]) -> Failure:
    """Return why vLLM's processes have ended while they served; no words of a request are in it."""
    known = _known_failure(causes)
    if known is not None:
        return known
    return Failure(
        Reason.INTERNAL_ERROR,
        "vLLM's processes have ended; the log has the reason. A new process usually helps",
    )


def _known_failure(causes: list[str]) -> Failure | None:
    for cause in causes:
        spoken = RuntimeError(cause.partition(": ")[2])
        if device.is_lost(spoken):
            return termination.device_lost(_first_line(cause))
        if is_out_of_memory(spoken) or any(words in cause for words in _MEMORY):
            return Failure(
                Reason.OUT_OF_MEMORY,
                f"there is not enough memory for vLLM ({_first_line(cause)}); use a larger instance "
                "type, a smaller --max-model-len, or a larger --gpu-memory-utilization",
            )
        if any(words in cause for words in _WEIGHTS):
            return Failure(
                Reason.WEIGHTS_INVALID, f"the weights are not usable: {_first_line(cause)}"
            )
    return None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:300]
