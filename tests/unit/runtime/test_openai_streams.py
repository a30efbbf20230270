"""Streams of /v1 whose clients leave, read slowly or ask for several texts at once."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kaito_runtime.serving.engine import GenerationFailedError
from kaito_runtime.serving.http.limits import Limits

from tests.harness.chat_world import World, events, parsed, post, soon

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "one two three"}]
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "a chat": (CHAT, {"messages": MESSAGES}),
    "several answers": (CHAT, {"messages": MESSAGES, "n": 3}),
    "a text": (TEXT, {"prompt": "one two three"}),
    "several texts": (TEXT, {"prompt": ["one two three", "four five six"], "n": 2}),
}
every_kind = pytest.mark.parametrize(("path", "body"), ASKED.values(), ids=ASKED)


def play(story: Callable[[World], Awaitable[None]], **limits: float) -> None:
    async def whole() -> None:
        world = World(Limits(**limits))  # type: ignore[arg-type]
        try:
            await story(world)
            await world.is_well()
        finally:
            world.server.stop()
            await world.server.close_all_connections()

    asyncio.run(whole())


def streamed(path: str, body: dict[str, Any]) -> bytes:
    return post(json.dumps({**body, "stream": True}).encode(), path=path)


@every_kind
def test_a_client_that_leaves_ends_all_of_its_generation(path: str, body: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        world.engine.holds, world.engine.hold_after = True, 1
        reader, writer = await world.send(streamed(path, body))
        assert (await anext(events(reader)))["choices"]
        writer.close()
        await soon(lambda: not world.engine.running)
        world.engine.holds = False

    play(story)


@every_kind
def test_a_client_that_does_not_read_is_let_go(path: str, body: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        world.engine.answer = " word" * 200_000  # more than any socket buffers
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", world.port))
            await loop.sock_sendall(lazy, streamed(path, {**body, "max_tokens": 200_000}))
            await soon(lambda: bool(world.engine.running))
            await soon(lambda: not world.engine.running)
        world.engine.answer = ""

    play(story, answer_seconds=0.05)


@every_kind
def test_a_failure_ends_the_stream_with_an_error(path: str, body: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        world.engine.trouble, world.engine.trouble_after = GenerationFailedError("secret"), 2
        reader, writer = await world.send(streamed(path, body))
        *_, error, done = [event async for event in events(reader)]
        assert error["error"]["code"] == "internal_error"
        assert "secret" not in error["error"]["message"]
        assert done == "[DONE]"
        writer.close()
        await soon(lambda: not world.engine.running)
        world.engine.trouble = None

    play(story)


@every_kind
def test_what_is_refused_at_once_has_its_status(path: str, body: dict[str, Any]) -> None:
    async def story(world: World) -> None:
        world.engine.is_full = True
        status, headers, content = parsed(await world.answer_to(streamed(path, body)))
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(content)["error"]["code"] == "queue_full"
        world.engine.is_full = False

    play(story)


def test_texts_are_generated_at_the_same_time() -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        _, writer = await world.send(streamed(TEXT, {"prompt": ["a", "b", "c"]}))
        await soon(lambda: len(world.engine.held) == 3)
        writer.close()
        await soon(lambda: not world.engine.running)
        world.engine.holds = False

    play(story)
