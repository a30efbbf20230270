"""The kinds of request that OpenAI's reference shows, sent as they stand there."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine
from tests.harness.http_server import http_server

HELLO = [
    {"role": "developer", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Hello!"},
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
IMAGE = [
    {"type": "text", "text": "What is in this image?"},
    {"type": "image_url", "image_url": {"url": "https://example.com/boardwalk.jpg"}},
]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
EXAMPLES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "default": (CHAT, {"messages": HELLO}, 200, '"content": "Hello!"'),
    "image": (CHAT, {"messages": [{"role": "user", "content": IMAGE}], "max_tokens": 300}, 400,
              'found \\"image_url\\"; this server reads text alone'),
    "streaming": (CHAT, {"messages": HELLO, "stream": True}, 200, "data: [DONE]"),
    "functions": (CHAT, {"messages": HELLO, "tools": [WEATHER], "tool_choice": "auto"}, 200,
                  '"finish_reason": "tool_calls"'),
    "logprobs": (CHAT, {"messages": HELLO, "logprobs": True, "top_logprobs": 2}, 200,
                 '"top_logprobs": [{"token"'),
    "structured": (CHAT, {"messages": HELLO, "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "event", "strict": True, "schema": {"type": "object"}}}}, 200,
        '"role": "assistant"'),
    "text": (TEXT, {"prompt": "Say this is a test", "max_tokens": 7, "temperature": 0}, 200,
             '"text": "Say this is a test"'),
    "text, streaming": (TEXT, {"prompt": "Say this is a test", "max_tokens": 7, "temperature": 0,
                               "stream": True}, 200, '"object": "text_completion"'),
}  # fmt: skip
CALL = '<tool_call>{"name": "get_current_weather", "arguments": {"location": "Boston"}}</tool_call>'


@pytest.fixture
def engine() -> EchoEngine:
    engine = EchoEngine()
    engine.template = "{{ tools }}<tool_call>"
    return engine


@pytest.fixture
def url(engine: EchoEngine) -> Iterator[str]:
    with http_server(ServerState("text-generation", engine=engine)) as url:
        yield url


@pytest.mark.parametrize(("path", "body", "status", "says"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_of_the_reference_is_answered(
    url: str, engine: EchoEngine, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    engine.answer = CALL if "tools" in body else ""
    asked = json.dumps({"model": "default", **body}).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer any"}
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(url + path, asked, headers), timeout=20
        )
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        assert answer.status == status
        assert says in answer.read().decode()


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", CHAT, 405, None), ("POST", "/v1/embeddings", 404, "not_found")],
)
def test_what_is_not_there_is_told_in_the_shape_of_the_api(
    url: str, method: str, path: str, status: int, code: str | None
) -> None:
    request = urllib.request.Request(url + path, method=method, data=None)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as error:
        assert error.code == status
        told = json.loads(error.read())["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert told["code"] == code


def test_a_body_beyond_the_limit_is_refused_in_the_shape_of_the_api(url: str) -> None:
    request = urllib.request.Request(url + CHAT, b"x" * (3 << 20))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value as error:
        assert error.code == 413
        assert "larger than" in json.loads(error.read())["error"]["message"]
