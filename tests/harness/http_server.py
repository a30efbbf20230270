"""The web server on a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.state import ServerState


@contextmanager
def http_server(state: ServerState) -> Iterator[str]:
    """Yield the address of a server with this state."""
    is_listening, loop = threading.Event(), asyncio.new_event_loop()
    ports: list[int] = []
    ends = asyncio.Event()

    async def serve() -> None:
        server = listen(state, "127.0.0.1", 0)
        ports.append(next(iter(server._sockets.values())).getsockname()[1])
        is_listening.set()
        await ends.wait()
        server.stop()
        await server.close_all_connections()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="http server")
    thread.start()
    assert is_listening.wait(20)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join(20)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does at once."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
