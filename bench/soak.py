"""`make bench-soak`: the memory of the model server under minutes of mixed load, and whether it still answers.

Clients that ask and wait, clients that read a stream, clients that leave after its first event, clients that read a
byte a second, and clients that send what is no request. What the server holds is sampled all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from kaito_laptop.core.child_process import free_port

from bench.processes import memory_mib
from bench.serving import wait_until_ready
from bench.serving_model import make_adapters, make_model
from bench.serving_work import ADAPTERS, LONG, MIXED, OWN, Work, completion

WORKS = (MIXED, OWN, LONG, ADAPTERS)
SAMPLE_SECONDS = 10.0
WARM_SHARE = 0.2
"""Of the time, before which memory may grow: pools, compiled templates, prefixes."""
GROWTH_MOST = 1.1
"""Of the median of the last fifth to that of the second."""
LARGEST = 64 << 10
CLIENTS = {"waits": 12, "streams": 8, "leaves": 6, "reads slowly": 4, "sends no request": 4}


class Clients:
    """All of them, until a moment; counts what they got."""

    def __init__(self, http: aiohttp.ClientSession, port: int, until: float):
        self._http = http
        self._port = port
        self._until = until
        self._numbers = itertools.count()
        self.answers: Counter[str] = Counter()

    async def run(self) -> None:
        """Run until the moment has come."""
        kinds: dict[str, Callable[[random.Random], Awaitable[str]]] = {
            "waits": self._wait,
            "streams": self._stream,
            "leaves": self._leave,
            "reads slowly": self._read_slowly,
            "sends no request": self._send_garbage,
        }
        await asyncio.gather(
            *(
                self._repeat(kind, kinds[kind], random.Random(f"{kind}/{number}"))
                for kind, count in CLIENTS.items()
                for number in range(count)
            )
        )

    async def _repeat(
        self, kind: str, ask: Callable[[random.Random], Awaitable[str]], chance: random.Random
    ) -> None:
        while time.monotonic() < self._until:
            self.answers[f"{kind}: {await ask(chance)}"] += 1

    def _body(self, chance: random.Random, *, streams: bool) -> dict[str, object]:
        work: Work = chance.choice(WORKS)
        return {**completion(work, next(self._numbers)).body, "stream": streams}

    async def _wait(self, chance: random.Random) -> str:
        async with self._http.post(
            "/v1/completions", json=self._body(chance, streams=False)
        ) as answer:
            await answer.read()
            return str(answer.status)

    async def _stream(self, chance: random.Random) -> str:
        async with self._http.post(
            "/v1/completions", json=self._body(chance, streams=True)
        ) as answer:
            last = b""
            async for line in answer.content:
                last = line.strip() or last
            is_whole = answer.status != 200 or last == b"data: [DONE]"
            return f"{answer.status}{'' if is_whole else ', cut off'}"

    async def _leave(self, chance: random.Random) -> str:
        async with self._http.post(
            "/v1/completions", json=self._body(chance, streams=True)
        ) as answer:
            await answer.content.readline()
            answer.close()
            return "left"

    async def _read_slowly(self, chance: random.Random) -> str:
        body = self._body(chance, streams=True)
        text = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
        with suppress(ConnectionError):
            writer.write(head.encode() + text)
            for _ in range(chance.randrange(5, 30)):
                if not await reader.read(1):
                    break
                await asyncio.sleep(1)
        writer.close()
        return "left"

    async def _send_garbage(self, chance: random.Random) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with suppress(ConnectionError):
            match chance.randrange(3):
                case 0:
                    writer.write(chance.randbytes(chance.randrange(1, LARGEST)))
                case 1:
                    length = chance.randrange(1, 1 << 20)
                    writer.write(
                        b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length
                    )
                    writer.write(b"[" * min(length, LARGEST))
                case 2:
                    writer.write(
                        b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
                    )
            await asyncio.wait_for(writer.drain(), 5)
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1 << 16), chance.random() * 2)
        writer.close()
        return "left"


async def soak(pid: int, port: int, minutes: float, console: Console) -> list[float]:
    """Return the memory in MiB, every ten seconds."""
    until = time.monotonic() + 60 * minutes
    samples: list[float] = []
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(total=300)
    ) as http:
        clients = Clients(http, port, until)
        running = asyncio.ensure_future(clients.run())
        while not running.done():
            await asyncio.wait([running], timeout=SAMPLE_SECONDS)
            samples.append(memory_mib([pid]))
            if len(samples) % 6 == 0:
                console.print(f"minute {len(samples) // 6}: {samples[-1]:.0f} MiB")
        running.result()
        async with http.get("/healthz") as health:
            console.print(f"At the end /healthz answers {health.status}")
        async with http.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
            console.print(
                *(each for each in lines if each.startswith("vllm:num_requests")), sep="\n"
            )
    table = Table("answers", "how many")
    for name, count in sorted(clients.answers.items()):
        table.add_row(name, f"{count:,}")
    console.print(table)
    return samples


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--minutes", type=float, default=10)
    flags = command.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryFile() as log:
        folder = Path(root)
        weights = make_model(folder / "weights")
        adapters = make_adapters(weights, folder / "adapters")
        port = free_port()
        command_line = [sys.executable, "-m", "kaito_runtime.serve", "--host", "127.0.0.1"]
        command_line += ["--weights", str(weights), "--adapters", str(adapters)]
        command_line += ["--port", str(port)]
        process = subprocess.Popen(command_line, stdout=log, stderr=log)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/readyz", process)
            samples = asyncio.run(soak(process.pid, port, flags.minutes, console))
        finally:
            process.terminate()
            code = process.wait(60)
    fifth = max(1, int(len(samples) * WARM_SHARE))
    early, late = (
        sorted(part)[len(part) // 2] for part in (samples[fifth : 2 * fifth], samples[-fifth:])
    )
    met = "met   " if late <= GROWTH_MOST * early and code == 0 else "MISSED"
    console.print(
        f"{met} memory of the last fifth : of the second: {late / early:.2f} (at most {GROWTH_MOST}); "
        f"{early:.0f} and {late:.0f} MiB; SIGTERM: exit code {code}"
    )


if __name__ == "__main__":
    main()
