"""Serve a model, with or without adapters, over Kaito's HTTP interface.

python -m kaito_runtime.serve --weights /workspace/weights --adapters /mnt/adapter --port 5000
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from kaito_contract.reasons import Reason
from kaito_runtime.pod import termination, threads, torchrun
from kaito_runtime.pod.paths import in_root
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.flags import parser
from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.auth import ApiKeys
from kaito_runtime.serving.http.rate_limit import RateLimiter, RateLimits
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.loading import load_engine
from kaito_runtime.serving.start import StartLedger

__all__ = ["load_engine", "main", "parser", "serve"]

log = logging.getLogger("kaito_runtime.serve")

READY = "The server is ready"
DRAIN_SECONDS = 25.0
"""Below Kubernetes' default grace period of 30 seconds."""


async def serve(
    load: Callable[[StartLedger], ChatEngine], host: str, port: int, state: ServerState
) -> Failure | None:
    """Listen at once, load meanwhile, answer until SIGTERM or until the engine ends.

    Returns why loading failed or the engine ended.
    """
    try:
        server = listen(state, host, port)
    except OSError as error:
        raise Failure(
            Reason.PORT_IN_USE,
            f"port {port} of {host} is not available ({error.strerror}); write another --port",
        ) from None
    loading = _Loading(state, load)
    await loading.stopped.wait()
    state.is_stopping = True
    server.stop()
    if state.engine:  # one that has ended answers too: that the client is to come back
        await state.drained(DRAIN_SECONDS)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, loading.thread.join)
    if state.engine:
        await loop.run_in_executor(None, state.engine.stop)
    await server.close_all_connections()
    return loading.failure


class _Loading:
    """Loads the engine on a thread, and says when the server is to stop: a signal, or a failure."""

    def __init__(self, state: ServerState, load: Callable[[StartLedger], ChatEngine]):
        self.stopped = asyncio.Event()
        self.failure: Failure | None = None
        self._state = state
        self._load = load
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stopped.set)
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            engine = self._load(self._state.start)
            gc.collect()
            gc.freeze()  # what is loaded stays: no collection is to walk through a model
            self._state.engine = engine
            self._state.engine.ended.add_done_callback(self._end)
            log.info("%s: %s", READY, self._state.start)
        except Failure as failure:
            self._fail(failure)
        except Exception as error:  # noqa: BLE001  a fault of the runtime ends the server too
            self._fail(termination.unexpected(error))

    def _end(self, ended: "Future[Failure | None]") -> None:
        failure = ended.result()
        if failure is not None:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        self.failure = self.failure or failure
        self._loop.call_soon_threadsafe(self.stopped.set)


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any] | None:
    """Serve what the command line names."""
    flags = parser().parse_args(arguments)
    flags.arguments = sys.argv[1:] if arguments is None else list(arguments)
    threads.prepare()
    if torchrun.local_rank():  # the first of each node answers its probes
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # it ends when rank 0 does, which drains first
        failure = load_engine(flags).ended.result()
    else:
        failure = asyncio.run(listen_and_serve(flags))
    if failure:
        raise failure
    return None


async def listen_and_serve(flags: argparse.Namespace) -> Failure | None:
    """Serve with the flags of the command line; see serve."""
    state = ServerState(
        flags.pipeline,
        adapter_digest=os.environ.get("KAITO_ADAPTER_DIGEST", ""),
        keys=ApiKeys.from_file(in_root(flags.api_keys)) if flags.api_keys else None,
        rate=RateLimiter(RateLimits(flags.requests_per_minute, flags.concurrent_requests)),
    )
    return await serve(lambda start: load_engine(flags, start), flags.host, flags.port, state)


if __name__ == "__main__":
    termination.run(main)
