"""Clients that send half, too much, too slowly or nothing leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest
import tornado.web

from kaito_runtime.serving.engine import EngineEndedError
from kaito_runtime.serving.http import limits as http_limits
from kaito_runtime.serving.http.chat import ChatHandler
from kaito_runtime.serving.http.limits import Limits

from tests.harness.chat_world import World, chunked, one_answer, parsed, post, soon

Play = Callable[..., None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Run a story against a server of its own, without Python's collector of reference cycles.

    In a process with torch the collector looks at old objects once in hours: what waits for it stays.
    """

    def call(story: Callable[[World], Awaitable[None]], **limits: float) -> None:
        async def whole() -> None:
            world = World(Limits(**limits))  # type: ignore[arg-type]
            watch(monkeypatch, ChatHandler, world.remember_chat)
            watch(monkeypatch, http_limits.Arrival, world.remember_arrival)
            watch(monkeypatch, tornado.web._HandlerDelegate, world.bodies.add)
            worlds.append(world)
            try:
                await story(world)
            finally:
                world.server.stop()
                await world.server.close_all_connections()

        worlds: list[World] = []
        asyncio.run(whole())
        gc.collect()  # finished coroutines of Tornado are cycles; nothing worse may be left
        world = worlds[0]
        assert not [*world.arrivals, *world.chats, *world.bodies]

    gc.collect()
    gc.disable()
    yield call
    gc.enable()


def watch(monkeypatch: pytest.MonkeyPatch, kind: type, remember: Callable[..., None]) -> None:
    make = kind.__init__  # type: ignore[misc]  # of a class, and no instance

    def make_it_known(self: object, *arguments: object, **named: object) -> None:
        make(self, *arguments, **named)
        remember(self)

    monkeypatch.setattr(kind, "__init__", make_it_known)


LARGE = b"x" * 8_000
CUT = {
    "nothing": b"",
    "half a header": b"POST /chat HTTP/1.1\r\nHo",
    "half a body": post(b"{" * 500, length=1_000),
    "no body": post(b"", length=1_000),
    "half a body of another route": post(b"{" * 500, path="/nothing", length=1_000),
    "half a chunk": chunked(b"400\r\n" + b"{" * 500),
    "half a chunk size": chunked(b"4\r\n{{{{\r\n40"),
    "chunks without an end": chunked(b"4\r\n{{{{\r\n"),
    "two requests and a half": post(b'{"prompt": "a"}') * 2 + post(b"{", length=1_000),
    "half a body that was asked for": post(b"{", "Expect: 100-continue", length=1_000),
    "a body too large, and all of it": post(LARGE),
    "a body too large in chunks": chunked(b"1f40\r\n" + LARGE + b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("way", ["closed", "half closed", "reset"])
@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
def test_a_request_that_ends_early_leaves_nothing(play: Play, sent: bytes, way: str) -> None:
    async def story(world: World) -> None:
        clients = [await world.send(sent) for _ in range(3)]
        await soon(lambda: world.begun >= 3)
        for _, writer in clients:
            if way == "half closed":
                writer.write_eof()
            elif way == "reset":
                at_once = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of no seconds
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, at_once
                )
        if way == "half closed":
            await soon(lambda: world.server.open_connections == 0)
        for _, writer in clients:
            writer.close()
        await world.is_well()

    play(story, body_bytes=2_000)


REFUSED = {
    "a length that is no number": (post(b"", length="many"), 400),
    "a length of letters and digits": (post(b"", length="1e3"), 400),
    "a length below zero": (post(b"", length=-1), 400),
    "two lengths": (post(b"", length="5, 6"), 400),
    "two headers of different lengths": (post(b"", "Content-Length: 5", length=6), 400),
    "a length of five thousand digits": (post(b"", length="9" * 5_000), 400),
    "a length and chunks": (post(b"", "Transfer-Encoding: chunked"), 400),
    "a chunk of no size": (chunked(b"many\r\n"), 400),
    "a first line that is none": (b"POST\r\n\r\n", 400),
    "too large by its length": (post(b"", length=1 << 40), 413),
    "too large, and not asked for": (post(b"", "Expect: 100-continue", length=1 << 40), 413),
    "too large for another route": (post(LARGE, path="/nothing"), 413),
    "too large in chunks": (chunked(b"1f40\r\n" + LARGE), 413),
    "brackets without end": (post(b"[" * 5_900), 400),
    "a number of many digits": (post(b'{"prompt": 1%s}' % (b"0" * 5_000)), 400),
    "half a surrogate pair": (post(b'{"prompt": ["\\ud800"]}'), 422),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_can_not_be_is_refused_with_its_status(
    play: Play, sent: bytes, status: int
) -> None:
    async def story(world: World) -> None:
        answer = await world.answer_to(sent)
        assert parsed(answer)[0] == status, answer
        await world.is_well()

    play(story, body_bytes=6_000, linger_seconds=0.01)


def test_a_refused_body_is_read_for_a_while_so_that_the_answer_arrives(play: Play) -> None:
    async def story(world: World) -> None:
        reader, writer = await world.send(post(b"x" * 100, length=1_000_000))
        status, headers, body = parsed(await one_answer(reader))
        assert (status, headers["connection"]) == (413, "close")
        assert "2000 bytes" in json.loads(body)["detail"]
        writer.write(b"x" * 999_900)
        await writer.drain()
        assert await reader.read() == b""
        writer.close()
        await world.is_well()

    play(story, body_bytes=2_000)


SLOW = {
    "a connection without a word": (b"", b"", "headers_seconds"),
    "headers, a letter at a time": (b"POST /chat HTTP/1.1\r\n", b"X", "headers_seconds"),
    "a body, a letter at a time": (post(b"", length=1_000_000), b"x", "body_seconds"),
    "a body that never comes": (post(b"", length=10), b"", "body_seconds"),
    "chunks, one at a time": (chunked(b""), b"1\r\nx\r\n", "body_seconds"),
}


@pytest.mark.parametrize(("sent", "more", "limit"), SLOW.values(), ids=SLOW)
def test_a_slow_client_is_let_go_with_a_word(
    play: Play, sent: bytes, more: bytes, limit: str
) -> None:
    async def story(world: World) -> None:
        reader, writer = await world.send(sent)
        answer = asyncio.ensure_future(one_answer(reader))
        while not answer.done():
            writer.write(more)
            await asyncio.sleep(0.002)
        assert parsed(await answer)[0] == 408
        writer.close()
        await world.is_well()

    play(story, **{limit: 0.05})


def test_an_idle_connection_is_closed_without_a_word(play: Play) -> None:
    async def story(world: World) -> None:
        reader, writer = await world.send(b"GET / HTTP/1.1\r\nHost: kaito\r\n\r\n")
        assert parsed(await one_answer(reader))[0] == 200
        assert await reader.read() == b""
        writer.close()
        await world.is_well()

    play(story, idle_seconds=0.02)


def test_an_answer_that_nobody_takes_off_is_given_up(play: Play) -> None:
    async def story(world: World) -> None:
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", world.port))
            world.engine.answer = "x" * 30_000_000  # more than any socket buffers
            await loop.sock_sendall(lazy, post(b'{"prompt": "Where"}'))
            await soon(lambda: world.begun == 1 and world.server.open_connections == 1)
            await soon(lambda: world.server.open_connections == 0)
            world.engine.answer = ""
        await world.is_well()

    play(story, answer_seconds=0.05)


def test_a_client_that_hangs_up_while_it_is_answered_leaves_nothing(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        _, writer = await world.send(post(b'{"prompt": "Where"}'))
        await soon(lambda: len(world.engine.held) == 1)
        writer.close()
        await soon(lambda: world.engine.held[0].is_gone)
        world.engine.holds = False
        await world.is_well()

    play(story)


def test_the_slowest_connection_makes_room_for_the_next(play: Play) -> None:
    async def story(world: World) -> None:
        oldest, *others = [await world.send(b"POST /chat HTT") for _ in range(3)]
        await soon(lambda: world.server.open_connections == 3)
        status, _, _ = parsed(await world.answer_to(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert status == 200
        assert await oldest[0].read() == b""
        await soon(lambda: world.server.open_connections == 2)
        for _, writer in [oldest, *others]:
            writer.close()
        await world.is_well()

    play(story, connections=3)


def test_where_all_connections_are_being_answered_the_next_is_told_to_come_back(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        busy = [await world.send(post(b'{"prompt": "Where"}')) for _ in range(3)]
        await soon(lambda: len(world.engine.held) == 3)
        status, headers, _ = parsed(await world.answer_to(b""))
        assert (status, headers["retry-after"]) == (503, "1")
        for _, writer in busy:
            writer.close()
        world.engine.holds = False
        await world.is_well()

    play(story, connections=3)


def test_the_slowest_body_makes_room_for_the_next(play: Play) -> None:
    async def story(world: World) -> None:
        half = post(b"x" * 1_000, length=1_900)
        oldest, other = await world.send(half), await world.send(half)
        await soon(lambda: world.server.held_bytes == 2_000)
        long = json.dumps({"prompt": "x" * 1_500}).encode()
        assert parsed(await world.answer_to(post(long)))[0] == 200
        status, headers, _ = parsed(await one_answer(oldest[0]))
        assert (status, headers["retry-after"]) == (503, "1")
        for _, writer in (oldest, other):
            writer.close()
        await world.is_well()

    play(story, body_bytes=2_000, bodies_bytes=3_000)


def test_where_all_bodies_are_being_answered_the_next_is_told_to_come_back(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        long = post(json.dumps({"prompt": "x" * 1_500}).encode())
        busy = await world.send(long)
        await soon(lambda: len(world.engine.held) == 1)
        status, headers, _ = parsed(await world.answer_to(long))
        assert (status, headers["retry-after"]) == (503, "1")
        busy[1].close()
        world.engine.holds = False
        await world.is_well()

    play(story, body_bytes=2_000, bodies_bytes=3_000)


def test_what_a_client_sends_ahead_stays_outside_and_changes_no_answer(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        reader, writer = await world.send(post(b'{"prompt": "Where"}'))
        await soon(lambda: len(world.engine.held) == 1)
        writer.write(b"x" * 8 * http_limits.MIB)
        await asyncio.sleep(0)
        streams = [connection.stream for connection in world.server._connections]
        assert all(stream._read_buffer_size <= http_limits.BUFFER_LIMIT_BYTES for stream in streams)
        world.engine.held[0].release()
        assert b"Where" in await one_answer(reader)
        writer.close()
        world.engine.holds = False
        del streams
        await world.is_well()

    play(story)


def test_requests_in_one_go_are_answered_in_turn(play: Play) -> None:
    async def story(world: World) -> None:
        asked = [b'{"prompt": "%d"}' % number for number in range(5)]
        reader, writer = await world.send(b"".join(map(post, asked)))
        told = [json.loads(parsed(await one_answer(reader))[2])["Result"] for _ in asked]
        assert told == [2 * digit for digit in "01234"]  # the prompt, and its echo
        writer.close()
        await world.is_well()

    play(story)


def test_a_body_that_waits_to_be_asked_for_is_asked_for(play: Play) -> None:
    async def story(world: World) -> None:
        body = b'{"prompt": "Where"}'
        head = post(b"", "Expect: 100-continue", length=len(body))
        reader, writer = await world.send(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert parsed(await one_answer(reader))[0] == 200
        writer.close()
        await world.is_well()

    play(story)


def test_a_form_by_its_type_is_json_all_the_same(play: Play) -> None:
    async def story(world: World) -> None:
        form = "Content-Type: application/x-www-form-urlencoded"  # what curl -d says
        assert parsed(await world.answer_to(post(b'{"prompt": "a"}', form)))[0] == 200
        await world.is_well()

    play(story)


def test_an_engine_that_ends_answers_503_and_when_to_come_back(play: Play) -> None:
    async def story(world: World) -> None:
        world.engine.trouble = EngineEndedError()
        status, headers, _ = parsed(await world.answer_to(post(b'{"prompt": "a"}')))
        assert (status, headers["retry-after"]) == (503, "1")
        world.engine.trouble = None
        await world.is_well()

    play(story)


def test_the_metrics_count_connections_and_those_that_were_dropped(play: Play) -> None:
    async def story(world: World) -> None:
        await world.answer_to(post(LARGE))
        text = (await world.answer_to(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")).decode()
        assert "kaito_connections_dropped_total 1" in text
        assert "kaito_connections 1" in text or "kaito_connections 2" in text

    play(story, body_bytes=2_000)
