"""Bodies that /v1 can't answer: each error names the field and what to write, in OpenAI's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.openai.chat_request import parse_chat_request
from kaito_runtime.serving.http.openai.completion_request import parse_completion_request
from kaito_runtime.serving.sampling import RequestRefusedError

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "f"}}


def chat_error(**body: Any) -> tuple[str, str, str]:
    return error_of(parse_chat_request, {"messages": MESSAGES, **body})


def completion_error(**body: Any) -> tuple[str, str, str]:
    return error_of(parse_completion_request, {"prompt": "Hi", **body})


def error_of(parse: Any, body: object) -> tuple[str, str, str]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        parse(raw)
    error = caught.value
    assert error.status == 400
    told = error.content("/v1/chat/completions")["error"]
    assert told["type"] == "invalid_request_error"
    return told["param"] or "", told["message"], told["code"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body must be JSON"),
        (b"{", "the body must be JSON: it is not valid at character 1"),
        (b"[]", "the body must be a JSON object"),
        (b"\xff", "encoded as UTF-8"),
        (b'{"messages": %s}' % (b"[" * 100_000), "nested too deeply"),
        (b'{"seed": 1%s}' % (b"0" * 5_000), "too many digits"),
    ],
)
def test_what_is_no_json_is_told_so(body: bytes, says: str) -> None:
    for parse in (parse_chat_request, parse_completion_request):
        assert says in error_of(parse, body)[1]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
CHAT: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": None}, "messages", "must be a valid list"),
    ({"messages": []}, "messages", "at least 1 item"),
    ({"messages": ["Hi"]}, "messages[0]", "must be"),
    ({"messages": [{"content": "Hi"}]}, "messages[0].role", "is required"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "must be a text"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "must be a text"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "", "no half of a surrogate pair"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content",
     'part 0 must be {"type": "text", "text": ...}, found "image_url"; this server reads text alone'),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}]},
     "messages[0].tool_calls[0].function.arguments", "must be the JSON text of an object"),
    ({"temperature": "hot"}, "temperature", "must be a valid number"),
    ({"max_tokens": 1.5}, "max_tokens", "must be a valid integer"),
    ({"n": []}, "n", "must be a valid integer"),
    ({"stop": 5}, "stop", "must be a text, or a list of texts"),
    ({"stop": [1]}, "stop", "must be a text, or a list of texts"),
    ({"logit_bias": {"a": 1}}, "logit_bias.a", "must be a valid integer"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream must be true"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs must be true"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
    ({"temprature": 1}, "temprature", 'did you mean "temperature"'),
    ({"foo_bar_baz": 1}, "foo_bar_baz", "it can have "),
    ({"best_of": 3}, "best_of", "is not supported; write n"),
    ({"functions": [{}]}, "functions", "is not supported; write tools"),
    ({"modalities": ["audio"]}, "modalities", "writes text alone"),
    ({"guided_json": {}}, "guided_json", "write response_format"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize", "leave it out"),
    ({"chat_template_kwargs": {"a b": 1}}, "chat_template_kwargs.a b", "leave it out"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "must be 'text', 'json_object'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "is required"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "must be 'function'"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name",
     "must match pattern"),
    ({"tools": [TOOL] * 129}, "tools", "at most 128 functions"),
    ({"tool_choice": "auto"}, "tool_choice", "or tools must be given"),
    ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice", '"none", "auto", "required"'),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
     "tool_choice.function.name", "must be one of the names in tools"),
    ({"tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}},
     "response_format", "must be text where tool_choice demands a call"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "says"), CHAT)
def test_a_chat_that_can_not_be_names_its_field(
    body: dict[str, Any], field: str, says: str
) -> None:
    param, message, code = chat_error(**body)
    assert param == field
    assert says in message
    assert code


COMPLETIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None}, "prompt", "must be a text, a list of texts"),
    ({"prompt": ""}, "prompt", "must be a text, a list of texts"),
    ({"prompt": []}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [[]]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [1, "a"]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [True]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": [-1]}, "prompt", "must be a text, a list of texts"),
    ({"prompt": ["\udcff"]}, "", "no half of a surrogate pair"),
    ({"prompt": ["a"] * 20, "n": 2}, "prompt", "at most 32 prompts times n, found 20 times 2"),
    ({"best_of": 2}, "best_of", "is not supported; write n, and choose yourself"),
    ({"suffix": "end"}, "suffix", "is not supported"),
    ({"echo": True, "logprobs": 1}, "echo", "must be false where logprobs is given"),
    ({"echo": True, "prompt": [1, 2]}, "echo", "write it as text"),
    ({"logprobs": True, "prompt": 1}, "prompt", "must be a text"),
    ({"max_token": 1}, "max_token", 'did you mean "max_tokens"'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "says"), COMPLETIONS)
def test_a_text_that_can_not_be_names_its_field(
    body: dict[str, Any], field: str, says: str
) -> None:
    param, message, _ = completion_error(**body)
    assert param == field
    assert says in message


def test_no_error_repeats_what_the_client_wrote() -> None:
    for body in (
        {"messages": "my secret"},
        {"messages": [{"role": "user", "content": ["my secret"]}]},
    ):
        assert "secret" not in chat_error(**body)[1]


@pytest.mark.parametrize(
    "body",
    [
        {"user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto"},
        {"best_of": 1, "use_beam_search": False, "stop_token_ids": []},
        {"function_call": None, "functions": None, "tool_choice": "none", "tools": []},
        {"logit_bias": None, "stop": None, "temperature": None, "response_format": None},
        {"top_k": -1},
        {"n_predict": 5, "repeat_penalty": 1.1, "cache_prompt": True},
        {"messages": [{"role": "assistant", "content": "a", "refusal": None, "annotations": []}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]},
    ],
)
def test_what_changes_nothing_is_accepted(body: dict[str, Any]) -> None:
    assert parse_chat_request(json.dumps({"messages": MESSAGES, **body}).encode()).request


def test_the_names_of_llama_cpp_mean_the_same() -> None:
    asked = {"messages": MESSAGES, "n_predict": 5, "repeat_penalty": 1.1, "top_k": -1}
    sampling = parse_chat_request(json.dumps(asked).encode()).request.sampling
    assert (sampling.max_tokens, sampling.repetition_penalty, sampling.top_k) == (5, 1.1, 0)


def test_parts_of_text_are_lines_of_one_message() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    body = {"messages": [{"role": "user", "content": parts}]}
    request = parse_chat_request(json.dumps(body).encode()).request
    assert request.prompt.messages == ({"role": "user", "content": "one\ntwo"},)


def test_definitions_of_parameters_are_where_a_schema_of_calls_finds_them() -> None:
    def tool(name: str, kind: str) -> dict[str, Any]:
        parameters = {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/place"}},
            "$defs": {"place": {"type": kind}},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    body: dict[str, Any] = {"messages": MESSAGES, "tool_choice": "required"}
    body["tools"] = [tool("f", "string"), tool("g", "string")]
    structure = parse_chat_request(json.dumps(body).encode()).request.sampling.structure
    assert structure
    assert structure.schema
    assert structure.schema["$defs"] == {"place": {"type": "string"}}
    body["tools"] = [tool("f", "string"), tool("g", "number")]
    assert "two different" in error_of(parse_chat_request, body)[1]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"n": 33}, "n"), ({"temperature": -1}, "temperature"), ({"stop": ["x"] * 17}, "stop")],
)
def test_limits_are_those_of_all_apis(body: dict[str, Any], field: str) -> None:
    asked = parse_chat_request(json.dumps({"messages": MESSAGES, **body}).encode())
    with pytest.raises(RequestRefusedError) as caught:
        asked.request.sampling.check()
    assert caught.value.field == field
