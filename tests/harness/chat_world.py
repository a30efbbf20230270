"""A chat server without a model, clients that speak to it in bytes, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import tornado.web

from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http import limits as http_limits
from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.chat import ChatHandler
from kaito_runtime.serving.http.limits import LimitedServer, Limits
from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine

WAIT_SECONDS = 10
"""When to give up on what must come at once."""


class World:
    """A server, its engine, and what is left of the requests that it has had."""

    def __init__(self, limits: Limits, engine: ChatEngine | None = None) -> None:
        self.engine = EchoEngine()
        self.served = ServerState("text-generation", engine=engine or self.engine, limits=limits)
        self.server: LimitedServer = listen(self.served, "127.0.0.1", 0)
        self.port: int = next(iter(self.server._sockets.values())).getsockname()[1]
        self.chats: weakref.WeakSet[ChatHandler] = weakref.WeakSet()
        self.arrivals: weakref.WeakSet[http_limits.Arrival] = weakref.WeakSet()
        self.bodies: weakref.WeakSet[tornado.web._HandlerDelegate] = weakref.WeakSet()
        """What Tornado collects bodies in."""
        self.begun = 0
        """How many requests the server has begun to wait for."""

    def remember_chat(self, chat: ChatHandler) -> None:
        self.chats.add(chat)

    def remember_arrival(self, arrival: http_limits.Arrival) -> None:
        self.arrivals.add(arrival)
        self.begun += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect()
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def answer_to(self, data: bytes) -> bytes:
        """What comes back until the server closes or one answer is complete."""
        reader, writer = await self.send(data)
        try:
            return await one_answer(reader)
        finally:
            writer.close()

    def left(self) -> dict[str, int]:
        """What the server holds of requests; all zero when nobody is there."""
        return {
            "connections": self.server.open_connections,
            "bytes": self.server.held_bytes,
            "chats": sum(not chat._finished for chat in self.chats),
            "bodies": sum(bool(body.chunks) for body in self.bodies),
            "arriving": sum(arrival.is_arriving for arrival in self.arrivals),
            "running": self.served.running,
        }

    async def is_empty(self) -> None:
        nothing = dict.fromkeys(self.left(), 0)
        await soon(lambda: self.left() == nothing, lambda: str(self.left()))

    async def is_well(self) -> None:
        """Nothing is left, and a good request is answered."""
        await self.is_empty()
        good = b'{"prompt": "Where", "return_full_text": false}'
        status, _, body = parsed(await self.answer_to(post(good)))
        assert (status, json.loads(body)) == (200, {"Result": "Where"})
        await self.is_empty()


async def soon(condition: Callable[[], bool], says: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, says()
        await asyncio.sleep(0.001)


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    head = b""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            length = dict(fields(head)).get("content-length", "0")
            return head + await reader.readexactly(int(length))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return head + getattr(error, "partial", b"")


async def events(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """The data of server-sent events as it comes: JSON, or text where it is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], head
    assert dict(fields(head))["content-type"].startswith("text/event-stream")
    async for event in _events_of(_chunks(reader)):
        assert event.startswith("data: "), event
        data = event.removeprefix("data: ")
        yield json.loads(data) if data[0] in "{[" and data != "[DONE]" else data


async def _events_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for event in whole:
            yield event.decode()
    assert not rest, rest


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


def fields(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        yield name.lower(), value


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), dict(fields(head)), body


def post(body: bytes, *headers: str, path: str = "/chat", length: object = None) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: kaito", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(body: bytes) -> bytes:
    return b"POST /chat HTTP/1.1\r\nHost: kaito\r\nTransfer-Encoding: chunked\r\n\r\n" + body
