"""The header that says what was proven of the adapter that answered."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

import pytest

from kaito_runtime.models.verification import Match, Verification
from kaito_runtime.serving.engine import AdapterInfo, GenerationFailedError
from kaito_runtime.serving.http.generation import VERIFIED, verified_by
from kaito_runtime.serving.http.openapi import openapi
from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine, verification
from tests.harness.http_server import http_server
from tests.harness.wire import ROOT

GENERATING = ("/chat", "/v1/chat/completions", "/v1/completions")


def posted(engine: EchoEngine, path: str, **body: Any) -> tuple[int, Message, str]:
    with http_server(ServerState("text-generation", engine=engine)) as url:
        request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()


@pytest.mark.parametrize(
    ("adapter", "names"),
    [("poet", ["poet"]), ("bard", ["bard"]), (None, ["bard", "poet"]), ("", [])],
    ids=["one", "the other", "all together", "the base"],
)
def test_it_tells_of_the_adapters_that_answer(adapter: str | None, names: list[str]) -> None:
    engine = EchoEngine(adapters=["poet", "bard"])
    assert verified_by(engine, adapter) == "; ".join(str(verification(each)) for each in names)


def test_one_adapter_without_a_proof_is_passed_over() -> None:
    engine = EchoEngine(adapters=["poet"])
    engine.loaded["poet"] = AdapterInfo("poet")
    assert verified_by(engine, None) == ""


@pytest.mark.parametrize("changes_nothing", [False, True])
@pytest.mark.parametrize("difference", [0.0, 1.23456789, 1e-30, 1e30, float("inf"), float("nan")])
def test_it_is_printable_ascii_whatever_was_found(difference: float, changes_nothing: bool) -> None:
    for base, tokenizer, template in itertools.product(Match, repeat=3):
        found = Verification("ä\r\n", base, tokenizer, template, difference, changes_nothing)
        value = str(found)
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_what_no_adapter_answered_has_no_header(streams: bool) -> None:
    two = {"num_return_sequences": 2}
    asked: dict[str, Any] = {"prompt": "a b c", "stream": streams, "generate_kwargs": two}
    engine = EchoEngine(adapters=["poet"])
    assert posted(engine, "/chat", adapter="poet", **asked)[1][VERIFIED]
    engine.trouble = GenerationFailedError()
    for engine.trouble_after in (0, 1) if not streams else (0,):
        status, headers, _ = posted(engine, "/chat", adapter="poet", **asked)
        assert status == 500
        assert VERIFIED not in headers


def test_an_adapter_that_leaves_while_it_answers_is_told_of() -> None:
    """Unloading waits for requests, and the list has no more of it by then."""
    engine = EchoEngine(adapters=["poet"])
    generate = engine.generate

    def leaving(request: Any) -> Any:
        deltas = generate(request)
        engine.loaded["poet"] = AdapterInfo("poet")
        return deltas

    engine.generate = leaving  # type: ignore[method-assign]
    _, headers, _ = posted(engine, "/chat", prompt="a", adapter="poet")
    assert headers[VERIFIED] == str(verification("poet"))


def test_openapi_describes_it_on_every_route_that_generates() -> None:
    described = {
        path
        for path, methods in openapi()["paths"].items()
        for operation in methods.values()
        if VERIFIED in operation["responses"]["200"].get("headers", {})
    }
    assert described == set(GENERATING)
    assert VERIFIED in (ROOT / "docs/serving.md").read_text(encoding="utf-8")
