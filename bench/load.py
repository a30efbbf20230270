"""Asking a hook over HTTP: on the clock whatever the answers do, or as fast as they come."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, address: str, path: str) -> Target:
        host, _, port = address.partition(":")
        return cls(host, int(port), path)


async def open_loop(target: Target, body: bytes, rate: int, seconds: float) -> list[float]:
    """Seconds from the moment each request was due to its answer: a slow answer can't slow the asking down."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    begin = time.perf_counter() + 0.1

    async def one(due: float) -> float:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = idle.pop() if idle else await asyncio.open_connection(target.host, target.port)
        await _ask(*connection, target, body)
        idle.append(connection)
        return time.perf_counter() - due

    return await asyncio.gather(*(one(begin + n / rate) for n in range(int(rate * seconds))))


async def closed_loop(target: Target, body: bytes, connections: int, seconds: float) -> int:
    """How many answers came in that time."""
    end = time.perf_counter() + seconds

    async def client() -> int:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        count = 0
        while time.perf_counter() < end:
            await _ask(reader, writer, target, body)
            count += 1
        writer.close()
        return count

    return sum(await asyncio.gather(*(client() for _ in range(connections))))


def ask(target: Target, body: bytes) -> Any:
    """One answer as JSON."""

    async def once() -> bytes:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        answer = await _ask(reader, writer, target, body)
        writer.close()
        return answer

    return json.loads(asyncio.run(once()))


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, body: bytes
) -> bytes:
    """One request on a connection that stays open."""
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    header = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in header.split(b"\r\n")[0], header
    length = int(header.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return await reader.readexactly(length)
