"""POST /chat with an engine that says the prompt again: whole and streamed, and how it ends early."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kaito_runtime.serving.engine import (
    BASE,
    EngineEndedError,
    FinishReason,
    GenerationFailedError,
    PromptTooLongError,
)
from kaito_runtime.serving.http.limits import Limits
from kaito_runtime.serving.sampling import RequestRefusedError

from tests.harness.chat_world import World, events, one_answer, parsed, post, soon


def play(story: Callable[[World], Awaitable[None]], **limits: float) -> None:
    async def whole() -> None:
        world = World(Limits(**limits))  # type: ignore[arg-type]
        try:
            await story(world)
            await world.is_empty()
        finally:
            world.server.stop()
            await world.server.close_all_connections()

    asyncio.run(whole())


async def asked(world: World, **body: Any) -> tuple[int, Any]:
    status, _, content = parsed(await world.answer_to(post(json.dumps(body).encode())))
    return status, json.loads(content)


async def streamed(world: World, **body: Any) -> list[Any]:
    reader, writer = await world.send(post(json.dumps({"stream": True, **body}).encode()))
    found = [event async for event in events(reader)]
    writer.close()
    return found


def test_the_reply_begins_with_the_prompt_unless_it_is_not_wanted() -> None:
    async def story(world: World) -> None:
        world.engine.answer = " is it?"
        assert await asked(world, prompt="Where") == (200, {"Result": "Where is it?"})
        short = await asked(world, prompt="Where", prefix="Say: ", return_full_text=False)
        assert short == (200, {"Result": " is it?"})

    play(story)


def test_several_sequences_stand_one_after_another_each_with_the_prompt() -> None:
    async def story(world: World) -> None:
        world.engine.answer = "!"
        more = {"num_return_sequences": 3}
        assert await asked(world, prompt="a", generate_kwargs=more) == (200, {"Result": "a!a!a!"})

    play(story)


def test_spaces_before_punctuation_go_where_that_is_asked_for() -> None:
    async def story(world: World) -> None:
        world.engine.answer = " I do n't know , really ."
        _, reply = await asked(world, prompt="a", clean_up_tokenization_spaces=True)
        assert reply == {"Result": "a I don't know, really."}

    play(story)


def test_messages_are_answered_without_the_form_of_the_conversational_pipeline() -> None:
    async def story(world: World) -> None:
        messages = [{"role": "user", "content": "Hi"}]
        assert await asked(world, messages=messages) == (200, {"Result": "Hi"})
        world.served.pipeline = "conversational"
        python = "{'role': 'assistant', 'content': 'Hi'}"
        assert await asked(world, messages=messages) == (200, {"Result": python})

    play(story)


def test_a_stream_is_deltas_and_then_the_whole_reply() -> None:
    async def story(world: World) -> None:
        world.engine.answer = " it lives\nin the river"
        found = await streamed(world, prompt="Where?")
        *deltas, last = found
        assert [each["delta"] for each in deltas] == [" it", " lives", "\nin", " the", " river"]
        assert last == {"Result": "Where? it lives\nin the river"}

    play(story)


def test_the_deltas_of_several_sequences_say_whose_they_are() -> None:
    async def story(world: World) -> None:
        world.engine.answer = "a b"
        found = await streamed(world, prompt="x", generate_kwargs={"num_return_sequences": 2})
        assert found == [
            {"delta": "a", "index": 0},
            {"delta": "a", "index": 1},
            {"delta": " b", "index": 0},
            {"delta": " b", "index": 1},
            {"Result": "xa bxa b"},
        ]

    play(story)


def test_a_delta_arrives_while_the_next_is_still_being_made() -> None:
    async def story(world: World) -> None:
        world.engine.holds, world.engine.hold_after = True, 1
        reader, writer = await world.send(post(b'{"prompt": "one two", "stream": true}'))
        stream = events(reader)
        assert await anext(stream) == {"delta": "one"}
        world.engine.holds = False
        world.engine.held[0].release()
        assert [event async for event in stream] == [
            {"delta": " two"},
            {"Result": "one twoone two"},
        ]
        writer.close()

    play(story)


@pytest.mark.parametrize(
    ("name", "adapter"),
    [(None, None), ("default", None), ("echo", BASE), ("", BASE), ("poet", "poet")],
)
def test_the_adapter_is_chosen_by_its_name(name: str | None, adapter: str | None) -> None:
    async def story(world: World) -> None:
        status, _ = await asked(world, prompt="a", adapter=name)
        assert status == 200
        assert world.engine.requests[0].adapter == adapter

    play(with_poet(story))


def with_poet(story: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
    async def prepared(world: World) -> None:
        world.engine.load_adapter("poet", None, 1.0)  # type: ignore[arg-type]
        await story(world)

    return prepared


def test_an_adapter_that_is_not_there_is_400_with_the_names() -> None:
    async def story(world: World) -> None:
        status, reply = await asked(world, prompt="a", adapter="painter")
        assert status == 400
        says = 'adapter must be one of "default", "echo", "poet"; not found: "painter"'
        assert reply == {"detail": says}

    play(with_poet(story))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("trouble", "status", "says"),
    [
        (RequestRefusedError("is not valid: two", "search"), 400, "generate_kwargs is not valid: two"),
        (RequestRefusedError("must be less", "max_tokens"), 400,
         "generate_kwargs.max_new_tokens must be less"),
        (RequestRefusedError("write less"), 400, "write less"),
        (PromptTooLongError("has 300 tokens", "prompt"), 413, "prompt has 300 tokens"),
        (EngineEndedError(), 503, "The model has stopped and is started again; try again"),
        (GenerationFailedError("secret"), 500, "Internal Server Error"),
        (RuntimeError("secret"), 500, "Internal Server Error"),
    ],
)  # fmt: skip
def test_what_the_engine_refuses_at_once_has_a_status_streamed_or_not(
    trouble: Exception, status: int, says: str, stream: bool
) -> None:
    async def story(world: World) -> None:
        world.engine.trouble = trouble
        assert await asked(world, prompt="a", stream=stream) == (status, {"detail": says})

    play(story)


def test_the_log_of_a_fault_holds_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        world.engine.trouble = RuntimeError("the prompt was: my secret")
        await asked(world, prompt="my secret")

    with caplog.at_level(logging.ERROR):
        play(story)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_stream_that_fails_ends_with_the_error() -> None:
    async def story(world: World) -> None:
        world.engine.trouble, world.engine.trouble_after = EngineEndedError(), 2
        assert await streamed(world, prompt="a b c") == [
            {"delta": "a"},
            {"delta": " b"},
            {"detail": "The model has stopped and is started again; try again"},
        ]

    play(story)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_the_server_cuts_off_is_never_taken_for_a_whole_one(stream: bool) -> None:
    async def story(world: World) -> None:
        world.engine.ends = FinishReason.ABORT
        if stream:
            assert "detail" in (await streamed(world, prompt="a b"))[-1]
        else:
            assert (await asked(world, prompt="a b"))[0] == 503

    play(story)


def test_a_client_that_leaves_a_stream_ends_its_generation() -> None:
    async def story(world: World) -> None:
        world.engine.holds, world.engine.hold_after = True, 1
        reader, writer = await world.send(post(b'{"prompt": "one two", "stream": true}'))
        assert await anext(events(reader)) == {"delta": "one"}
        assert world.engine.running
        writer.close()
        await soon(lambda: not world.engine.running)

    play(story)


def test_a_client_that_does_not_read_its_stream_is_let_go_and_its_generation_ends() -> None:
    async def story(world: World) -> None:
        world.engine.answer = " word" * 2_000_000  # more than any socket buffers
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(lazy, ("127.0.0.1", world.port))
            body = (
                b'{"prompt": "a", "stream": true, "generate_kwargs": {"max_new_tokens": 2000000}}'
            )
            await loop.sock_sendall(lazy, post(body))
            await soon(lambda: bool(world.engine.running))
            await soon(lambda: not world.engine.running)
        world.engine.answer = ""

    play(story, answer_seconds=0.05)


def test_a_server_that_stops_answers_what_it_has_begun_and_nothing_more() -> None:
    async def story(world: World) -> None:
        world.engine.holds = True
        reader, writer = await world.send(post(b'{"prompt": "a"}'))
        await soon(lambda: bool(world.engine.held))
        world.served.is_stopping = True
        assert (await asked(world, prompt="b"))[0] == 503
        waits = asyncio.ensure_future(world.served.drained(10))
        world.engine.held[0].release()
        assert parsed(await one_answer(reader))[0] == 200
        await waits
        writer.close()

    play(story)
