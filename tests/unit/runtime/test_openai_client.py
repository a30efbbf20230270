"""/v1 as the official client speaks to it: sync, async, streams, tools, errors, time-outs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from kaito_runtime.serving.engine import BASE, EngineEndedError, PromptTooLongError
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError

from tests.harness.echo_engine import EchoEngine, verification
from tests.harness.http_server import eventually, http_server

ASK: Any = [{"role": "user", "content": "Where does it live?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
        },
    },
}
HERMES = "{% if tools %}<tools>{% endif %}<tool_call></tool_call>"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"place": "Paris"}}\n</tool_call>'


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine(adapters=["poet"])


@pytest.fixture
def address(engine: EchoEngine) -> Iterator[str]:
    with http_server(ServerState("text-generation", engine=engine)) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with closing(
        openai.OpenAI(base_url=address, api_key="any", max_retries=0, timeout=20)
    ) as client:
        yield client


def test_a_chat_is_answered(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.cached_tokens = 2
    told = client.chat.completions.create(model="default", messages=ASK)
    assert told.object == "chat.completion"
    assert told.choices[0].message.role == "assistant"
    assert told.choices[0].message.content == "Where does it live?"
    assert told.choices[0].finish_reason == "stop"
    assert told.usage
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (3, 5)
    assert told.usage.total_tokens == 8
    assert told.usage.prompt_tokens_details
    assert told.usage.prompt_tokens_details.cached_tokens == 2
    assert told.id == engine.requests[0].id
    assert not engine.requests[0].streams


def test_a_chat_is_streamed_with_its_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="default", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert texts == ["", "Where", " does", " it", " live?", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == 8
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_helper_for_streams_puts_the_chat_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="default", messages=ASK) as stream:
        told = stream.get_final_completion()
    assert told.choices[0].message.content == "Where does it live?"


def test_the_asynchronous_client_asks_many_at_once(address: str) -> None:
    async def ask_all() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=address, api_key="any") as client:
            asked = [
                client.chat.completions.create(
                    model="default", messages=[{"role": "user", "content": f"word {number}"}]
                )
                for number in range(20)
            ]
            return [told.choices[0].message.content for told in await asyncio.gather(*asked)]

    assert asyncio.run(ask_all()) == [f"word {number}" for number in range(20)]


def test_the_asynchronous_client_streams(address: str) -> None:
    async def stream() -> str:
        async with openai.AsyncOpenAI(base_url=address, api_key="any") as client:
            chunks = await client.chat.completions.create(
                model="default", messages=ASK, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    assert asyncio.run(stream()) == "Where does it live?"


def test_several_answers_stay_apart(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(model="default", messages=ASK, n=3)
    assert [choice.index for choice in told.choices] == [0, 1, 2]
    texts = ["", "", ""]
    for chunk in client.chat.completions.create(model="default", messages=ASK, n=3, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["Where does it live?"] * 3


def test_the_parameters_reach_the_engine_by_their_neutral_names(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    client.chat.completions.create(
        model="default", messages=ASK, temperature=0.5, top_p=0.9, max_completion_tokens=7, n=1,
        seed=11, presence_penalty=0.5, frequency_penalty=-0.5, logit_bias={"5": -100},
        stop=["xyz", "zyx"],
        extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "min_tokens": 2,
                    "ignore_eos": True, "chat_template_kwargs": {"enable_thinking": False}},
    )  # fmt: skip
    (request,) = engine.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.greedy) == (0.5, 0.9, False)
    assert (sampling.max_tokens, sampling.min_tokens, sampling.seed) == (7, 2, 11)
    assert (sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (5, 0.1, 1.2)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -0.5)
    assert sampling.logit_bias == {5: -100}
    assert sampling.stop == ("xyz", "zyx")
    assert sampling.ignore_eos
    assert request.prompt.template_arguments == {"enable_thinking": False}


def test_a_temperature_of_zero_is_greedy(client: openai.OpenAI, engine: EchoEngine) -> None:
    client.chat.completions.create(model="default", messages=ASK, temperature=0)
    assert engine.requests[0].sampling.greedy is True


def test_the_text_that_ends_an_answer_is_no_part_of_it(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(model="default", messages=ASK, stop=" it")
    assert told.choices[0].message.content == "Where does"
    length = client.chat.completions.create(model="default", messages=ASK, max_tokens=2)
    assert length.choices[0].finish_reason == "length"


def test_a_chat_has_log_probabilities(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model="default", messages=ASK, logprobs=True, top_logprobs=2
    )
    assert told.choices[0].logprobs
    content = told.choices[0].logprobs.content
    assert content
    assert [token.token for token in content] == ["Where", " does", " it", " live?", ""]
    assert content[0].bytes == list(b"Where")
    assert [each.logprob for each in content[0].top_logprobs] == [-0.5, -1.0]
    stream = client.chat.completions.create(
        model="default", messages=ASK, logprobs=True, stream=True
    )
    streamed = [
        token.token
        for chunk in stream
        if (logprobs := chunk.choices[0].logprobs)
        for token in logprobs.content or []
    ]
    assert streamed == ["Where", " does", " it", " live?", ""]


def test_a_text_is_continued(client: openai.OpenAI, engine: EchoEngine) -> None:
    told = client.completions.create(model="default", prompt="Say this is a test", echo=True)
    assert told.object == "text_completion"
    assert told.choices[0].text == "Say this is a test" * 2
    (request,) = engine.requests
    assert request.prompt.is_message is False
    assert request.sampling.max_tokens == 16


def test_texts_and_token_ids_are_continued_each_n_times(client: openai.OpenAI) -> None:
    told = client.completions.create(model="default", prompt=["one", "two"], n=2)
    assert [(each.index, each.text) for each in told.choices] == [
        (0, "one"), (1, "one"), (2, "two"), (3, "two"),
    ]  # fmt: skip
    assert told.usage
    assert told.usage.prompt_tokens == 6
    ids = client.completions.create(model="default", prompt=[[5, 6], [7]])
    assert [each.text for each in ids.choices] == ["5 6", "7"]
    assert client.completions.create(model="default", prompt=[5, 6]).choices[0].text == "5 6"


def test_a_text_is_streamed(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="default", prompt=["one two", "three"], stream=True, echo=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    texts, ends = ["", ""], {}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == ["one twoone two", "threethree"]
    assert ends == {0: "stop", 1: "stop"}
    assert chunk.usage
    assert chunk.usage.completion_tokens == 5


def test_a_text_has_log_probabilities(client: openai.OpenAI) -> None:
    told = client.completions.create(model="default", prompt="one two", logprobs=1)
    logprobs = told.choices[0].logprobs
    assert logprobs
    assert logprobs.tokens == ["one", " two", ""]
    assert logprobs.text_offset == [0, 3, 7]
    assert logprobs.token_logprobs == [-0.5, -0.5, -0.5]


@pytest.mark.parametrize(
    ("model", "adapter"), [("default", None), ("echo", BASE), ("poet", "poet")]
)
def test_the_model_chooses_what_answers(
    client: openai.OpenAI, engine: EchoEngine, model: str, adapter: str | None
) -> None:
    told = client.chat.completions.create(model=model, messages=ASK)
    assert engine.requests[0].adapter == adapter
    assert told.model == model


def test_the_models_are_listed_and_described(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.load_adapter("painter", Path(), 0.5)
    listed = client.models.list().data
    assert [model.id for model in listed] == ["default", "echo", "painter", "poet"]
    described: Any = client.models.retrieve("painter")
    assert (described.parent, described.max_model_len) == ("echo", 256)
    assert described.details == {"strength": 0.5, "verified": verification("painter").fields()}


def test_an_unknown_model_is_not_found_and_the_names_are_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert '"default", "echo", "poet"' in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_tools_are_offered_and_calls_are_parsed(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.template, engine.answer = HERMES, f"Let me see.\n{CALL}"
    told = client.chat.completions.create(model="default", messages=ASK, tools=[WEATHER])
    (choice,) = told.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert choice.message.tool_calls
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.id.startswith("call_")
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"place": "Paris"}
    assert engine.requests[0].prompt.tools == (WEATHER,)
    assert not engine.requests[0].skip_special_tokens


def test_calls_are_streamed(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.template, engine.answer = HERMES, f"Let me see.\n{CALL}\n{CALL}"
    with client.chat.completions.stream(model="default", messages=ASK, tools=[WEATHER]) as stream:
        told = stream.get_final_completion()
    message = told.choices[0].message
    assert told.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me see."
    assert message.tool_calls
    assert [call.function.arguments for call in message.tool_calls] == ['{"place": "Paris"}'] * 2
    assert len({call.id for call in message.tool_calls}) == 2


def test_at_most_one_call_comes_where_that_is_asked_for(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    engine.template, engine.answer = HERMES, f"{CALL}\n{CALL}"
    told = client.chat.completions.create(
        model="default", messages=ASK, tools=[WEATHER], parallel_tool_calls=False
    )
    assert len(told.choices[0].message.tool_calls or []) == 1


def test_a_function_that_is_named_is_called(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.template, engine.answer = HERMES, '{"place": "Oslo"}'
    told = client.chat.completions.create(
        model="default", messages=ASK, tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
    )  # fmt: skip
    (call,) = told.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", '{"place": "Oslo"}')
    schema = WEATHER["function"]["parameters"]
    assert engine.requests[0].sampling.structure == JsonStructure(schema)


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_is_required_comes_through_a_schema(
    client: openai.OpenAI, engine: EchoEngine, stream: bool
) -> None:
    engine.template = HERMES
    engine.answer = '[{"name": "weather", "arguments": {"place": "Oslo"}}]'
    asked: dict[str, Any] = {
        "model": "default", "messages": ASK, "tools": [WEATHER], "tool_choice": "required",
    }  # fmt: skip
    if stream:
        with client.chat.completions.stream(**asked) as events:
            told: Any = events.get_final_completion()
    else:
        told = client.chat.completions.create(**asked)
    (call,) = told.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"place": "Oslo"}')
    assert told.choices[0].finish_reason == "tool_calls"
    structure = engine.requests[0].sampling.structure
    assert structure
    assert structure.schema
    assert structure.schema["minItems"] == 1


def test_tools_that_nobody_wants_called_are_not_offered(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    client.chat.completions.create(
        model="default", messages=ASK, tools=[WEATHER], tool_choice="none"
    )
    assert engine.requests[0].prompt.tools == ()


def test_a_result_of_a_tool_goes_back_to_the_model(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    engine.template = HERMES
    messages: Any = [
        {"role": "developer", "content": "Be short."},
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"place": "Oslo"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]  # fmt: skip
    client.chat.completions.create(model="default", messages=messages, tools=[WEATHER])
    system, _, assistant, tool = engine.requests[0].prompt.messages
    assert system == {"role": "system", "content": "Be short."}
    function = {"name": "weather", "arguments": {"place": "Oslo"}}
    assert assistant["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def test_a_response_format_holds_the_answer_to_a_schema(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    schema: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
    formats: list[tuple[Any, JsonStructure | None]] = [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonStructure()),
        ({"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}},
         JsonStructure(schema)),
    ]  # fmt: skip
    for written, _ in formats:
        client.chat.completions.create(model="default", messages=ASK, response_format=written)
    structures = [request.sampling.structure for request in engine.requests]
    assert structures == [structure for _, structure in formats]


def test_an_engine_that_can_not_hold_to_a_schema_is_told_by_the_field(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    engine.template = HERMES
    engine.trouble = RequestRefusedError("is not supported by this engine", "structure")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="default", messages=ASK, response_format={"type": "json_object"}
        )
    assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="default", messages=ASK, tools=[WEATHER], tool_choice="required"
        )
    assert caught.value.param == "tool_choice"


def test_a_prompt_that_is_too_long_has_its_code(client: openai.OpenAI, engine: EchoEngine) -> None:
    engine.trouble = PromptTooLongError("has 300 tokens, and the context 256", "prompt")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="default", messages=ASK)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_a_full_queue_is_a_rate_limit_and_the_client_tries_again(
    address: str, engine: EchoEngine
) -> None:
    engine.is_full = True
    with (
        closing(openai.OpenAI(base_url=address, api_key="any", max_retries=1)) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="default", messages=ASK)
    assert caught.value.code == "queue_full"
    assert caught.value.response.headers["Retry-After"] == "1"
    assert len(engine.requests) == 2


def test_a_server_that_is_not_ready_is_503_with_when_to_come_back() -> None:
    with (
        http_server(ServerState("text-generation")) as url,
        closing(openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)) as client,
    ):
        for ask in (
            lambda: client.chat.completions.create(model="default", messages=ASK),
            client.models.list,
        ):
            with pytest.raises(openai.InternalServerError) as caught:
                ask()
            assert caught.value.status_code == 503
            assert caught.value.response.headers["Retry-After"] == "1"


def test_a_stream_that_fails_raises_in_the_client(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    engine.trouble, engine.trouble_after = EngineEndedError(), 2
    stream = client.chat.completions.create(model="default", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match="try again"):
        list(stream)


def test_a_client_that_times_out_ends_its_generation(address: str, engine: EchoEngine) -> None:
    engine.holds = True
    with closing(
        openai.OpenAI(base_url=address, api_key="any", max_retries=0, timeout=0.2)
    ) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="default", messages=ASK)
        engine.holds = False
        client.with_options(timeout=20).chat.completions.create(model="default", messages=ASK)
    eventually(lambda: engine.held[0].is_gone and not engine.running)


def test_a_stream_that_is_closed_ends_its_generation(
    client: openai.OpenAI, engine: EchoEngine
) -> None:
    engine.holds, engine.hold_after = True, 1
    with client.chat.completions.create(model="default", messages=ASK, stream=True) as stream:
        next(iter(stream))
    eventually(lambda: not engine.running)
