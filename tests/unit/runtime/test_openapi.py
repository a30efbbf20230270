"""/openapi.json says what the routes read and answer, and /docs shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.request
from typing import Any

import jsonschema
import pytest

from kaito_runtime.serving.http.app import make_app
from kaito_runtime.serving.http.openapi import ROUTES, openapi
from kaito_runtime.serving.http.page import page
from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine
from tests.harness.http_server import http_server


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", **openapi()}
    return jsonschema.Draft202012Validator(schema)


def test_every_route_is_told_and_no_other() -> None:
    app = make_app(ServerState("text-generation"))
    patterns = {rule.matcher.regex.pattern for rule in app.wildcard_router.rules}  # type: ignore[attr-defined]
    assert patterns == {f"{path.replace('{model}', '(.+)')}$" for path in ROUTES}


def test_each_field_of_the_schemas_is_one_that_the_parsers_know() -> None:
    document = json.dumps(openapi())
    references = set(re.findall(r'"#/components/schemas/(\w+)"', document))
    assert references <= set(openapi()["components"]["schemas"])
    for name in ("ChatRequestBody", "CompletionRequestBody"):
        fields = openapi()["components"]["schemas"][name]["properties"]
        assert all("description" in field for key, field in fields.items() if key != "messages")


ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 2, "n": 2}, "ChatCompletion"),
    ("/v1/completions", {"logprobs": 1, "n": 2}, "Completion"),
    ("/v1/chat/completions", {"n": 100}, "Error"),
    ("/v1/completions", {"model": "gpt-4o"}, "Error"),
]


@pytest.mark.parametrize(("path", "more", "name"), ASKED)
def test_examples_and_answers_have_the_schemas(path: str, more: dict[str, Any], name: str) -> None:
    example = ROUTES[path].example
    body = openapi()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    asked = {**example, **more}
    validator(body["schema"]["$ref"].rpartition("/")[2]).validate(asked)
    with http_server(ServerState("text-generation", engine=EchoEngine())) as url:
        validator(name).validate(posted(f"{url}{path}", asked))


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/chat/completions", "ChatCompletionChunk"), ("/v1/completions", "Completion")],
)
def test_each_event_of_a_stream_has_its_schema(path: str, name: str) -> None:
    asked = {**ROUTES[path].example, "stream": True, "stream_options": {"include_usage": True}}
    with http_server(ServerState("text-generation", engine=EchoEngine())) as url:
        request = urllib.request.Request(f"{url}{path}", json.dumps(asked).encode())
        lines = urllib.request.urlopen(request, timeout=20).read().decode().split("\n\n")
    *events, done = [line.removeprefix("data: ") for line in lines if line]
    assert done == "[DONE]"
    assert len(events) > 2
    for event in events:
        validator(name).validate(json.loads(event))


def posted(url: str, content: object) -> Any:
    request = urllib.request.Request(url, json.dumps(content).encode())
    try:
        return json.loads(urllib.request.urlopen(request, timeout=20).read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


def test_the_page_of_the_documentation_runs_nothing_but_its_own_script() -> None:
    with http_server(ServerState("text-generation")) as url:
        answer = urllib.request.urlopen(f"{url}/docs", timeout=20)
        html, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
        assert json.loads(urllib.request.urlopen(f"{url}/openapi.json").read()) == openapi()
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_no_page_loads_anything_from_elsewhere() -> None:
    html = page("docs.html").content.decode()
    assert not re.search(r"(src|href)=\"(https?:)?//", html)
