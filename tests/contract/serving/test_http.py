"""What every engine answers over HTTP: one row a request."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from typing import Any

import pytest

from kaito_runtime.serving.http.generation import VERIFIED
from kaito_runtime.serving.http.state import ServerState

from tests.contract.serving.conftest import KINDS, Served
from tests.harness.http_server import http_server

pytestmark = pytest.mark.runtime

ASK = [{"role": "user", "content": "Where does the otter live?"}]
PROMPT = "Where does the otter live?"
BASE_NAME = "the base"
"""In the rows: what the engine calls its model."""
Body = Mapping[str, Any]
Holds = Callable[[Any], bool]


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with http_server(ServerState("text-generation", engine=served.engine)) as url:
        yield url


def asked(url: str, body: Body | None = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def headers_of(url: str, body: Body) -> Message:
    """Of an answer whose status is 200."""
    request = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()
        headers: Message = answer.headers
        return headers


def kwargs(**more: Any) -> Body:
    return {"max_new_tokens": 4, "do_sample": False, **more}


def model(**more: Any) -> Body:
    """A request of /v1 to the base."""
    return {"model": BASE_NAME, "max_tokens": 4, "temperature": 0, **more}


def named(body: Body, served: Served) -> Body:
    name = served.engine.model().name
    return {key: name if value == BASE_NAME else value for key, value in body.items()}


ROWS: list[tuple[str, Body, int, Holds]] = [
    (
        "/chat",
        {"prompt": PROMPT, "adapter": BASE_NAME, "generate_kwargs": kwargs()},
        200,
        lambda answer: answer["Result"].startswith(PROMPT) and len(answer) == 1,
    ),
    (
        "/chat",
        {"messages": ASK, "adapter": BASE_NAME, "generate_kwargs": kwargs()},
        200,
        lambda answer: bool(answer["Result"]),
    ),
    (
        "/chat",
        {
            "prompt": PROMPT,
            "adapter": BASE_NAME,
            "return_full_text": False,
            "generate_kwargs": kwargs(num_return_sequences=2),
        },
        200,
        lambda answer: not answer["Result"].startswith(PROMPT + PROMPT),
    ),
    (
        "/chat",
        {"prompt": PROMPT, "adapter": "nobody"},
        400,
        lambda answer: "nobody" in answer["detail"],
    ),
    (
        "/chat",
        {"prompt": PROMPT, "generate_kwargs": kwargs(temperature=-1)},
        400,
        lambda answer: "temperature" in answer["detail"],
    ),
    ("/chat", {}, 400, lambda answer: bool(answer["detail"])),
    (
        "/v1/chat/completions",
        model(messages=ASK),
        200,
        lambda answer: answer["usage"]["completion_tokens"] <= 5,
    ),
    (
        "/v1/chat/completions",
        model(messages=ASK, n=2, logprobs=True, top_logprobs=2),
        200,
        lambda answer: (
            [len(each["logprobs"]["content"][0]["top_logprobs"]) for each in answer["choices"]]
            == [2, 2]
        ),
    ),
    (
        "/v1/completions",
        model(prompt=PROMPT, echo=False),
        200,
        lambda answer: answer["choices"][0]["finish_reason"] in ("stop", "length"),
    ),
    (
        "/v1/completions",
        model(prompt=PROMPT, n=0),
        400,
        lambda answer: answer["error"]["param"] == "n",
    ),
    (
        "/v1/chat/completions",
        {**model(messages=ASK), "model": "nobody"},
        404,
        lambda answer: answer["error"]["code"] == "model_not_found",
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "holds"), ROWS)
def test_a_request_is_answered(
    address: str, served: Served, path: str, body: Body, status: int, holds: Holds
) -> None:
    code, text = asked(f"{address}{path}", named(body, served))
    assert code == status, text
    assert holds(json.loads(text)), text


def test_models_are_the_base_and_the_adapters(address: str, served: Served) -> None:
    _, text = asked(f"{address}/v1/models")
    names = {each["id"] for each in json.loads(text)["data"]}
    assert {served.engine.model().name, *(each.name for each in served.engine.adapters())} <= names


def test_what_was_proven_of_each_adapter_is_in_models_and_in_the_figures(
    address: str, served: Served
) -> None:
    proven = {each.name: each.verification for each in served.engine.adapters()}
    assert list(proven) == sorted(KINDS)
    models = json.loads(asked(f"{address}/v1/models")[1])["data"]
    details = {each["id"]: each["details"] for each in models}
    figures = asked(f"{address}/metrics")[1]
    for name, found in proven.items():
        assert found is not None
        assert found.largest_difference > 0
        assert details[name]["verified"] == found.fields()
        assert f'kaito_adapter_verified{{adapter="{name}",base="{found.base}",' in figures
        assert f'kaito_adapter_largest_difference{{adapter="{name}"}}' in figures


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("path", "key", "body"),
    [
        ("/chat", "adapter", {"prompt": PROMPT, "generate_kwargs": kwargs()}),
        ("/v1/chat/completions", "model", {"messages": ASK, "max_tokens": 4}),
        ("/v1/completions", "model", {"prompt": [PROMPT, "Where?"], "max_tokens": 4}),
    ],
)
def test_an_answer_of_an_adapter_has_what_was_proven_of_it_in_a_header(
    address: str, served: Served, path: str, key: str, body: Body, streams: bool
) -> None:
    for adapter in served.engine.adapters():
        headers = headers_of(f"{address}{path}", {**body, key: adapter.name, "stream": streams})
        assert headers[VERIFIED] == str(adapter.verification)
    base = {**body, key: served.engine.model().name, "stream": streams}
    assert VERIFIED not in headers_of(f"{address}{path}", base)


def test_a_stream_of_chat_ends_with_the_result(address: str, served: Served) -> None:
    body = {"prompt": PROMPT, "adapter": BASE_NAME, "stream": True, "generate_kwargs": kwargs()}
    _, text = asked(f"{address}/chat", named(body, served))
    *deltas, last = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]
    assert last["Result"] == PROMPT + "".join(each["delta"] for each in deltas)


def test_it_is_ready_and_counted(address: str) -> None:
    assert [asked(f"{address}{path}")[0] for path in ("/healthz", "/readyz")] == [200, 200]
    assert "vllm:num_requests_running" in asked(f"{address}/metrics")[1]
