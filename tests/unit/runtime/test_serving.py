"""The web server with an engine of twenty lines, and the real engine with a real model."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Never

import pytest
import tornado.httpclient
import tornado.httputil

from kaito_contract.reasons import Reason
from kaito_runtime import serve
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import Prompt, PromptTooLongError, QueueFullError
from kaito_runtime.serving.http.app import listen
from kaito_runtime.serving.http.limits import Limits
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.loading import quantization_of
from kaito_runtime.serving.sampling import RequestRefusedError
from kaito_runtime.serving.start import StartLedger

from tests.harness.echo_engine import EchoEngine
from tests.harness.engine_client import SECONDS, EngineClient
from tests.harness.server_process import server_process
from tests.unit.runtime.conftest import FailureOf

Request = tuple[str, str, str | bytes | None, dict[str, str]]
Answer = tuple[int, tornado.httputil.HTTPHeaders, str]
Ask = Callable[..., list[Answer]]


@pytest.fixture
def ask() -> Ask:
    """Run requests against a server: (method, path, body, headers) -> (status, headers, text)."""

    def call(served: ServerState, *requests: Request) -> list[Answer]:
        async def all_requests() -> list[Answer]:
            server = listen(served, "127.0.0.1", 0)
            port = next(iter(server._sockets.values())).getsockname()[1]
            client = tornado.httpclient.AsyncHTTPClient(force_instance=True)
            answers = []
            for method, path, body, headers in requests:
                answer = await client.fetch(
                    f"http://127.0.0.1:{port}{path}", method=method, body=body, headers=headers,
                    raise_error=False, request_timeout=5,
                )  # fmt: skip
                answers.append((answer.code, answer.headers, answer.body.decode()))
            client.close()
            server.stop()
            await server.close_all_connections()
            return answers

        return asyncio.run(all_requests())

    return call


def get(path: str, **headers: str) -> Request:
    return ("GET", path, None, headers)


def chat(content: object) -> Request:
    body = content if isinstance(content, bytes | str) else json.dumps(content)
    return ("POST", "/chat", body, {})


def test_readiness_begins_with_the_engine_and_health_before(ask: Ask) -> None:
    loading, ready = (
        ServerState("text-generation"),
        ServerState("text-generation", engine=EchoEngine()),
    )
    before = ask(loading, get("/healthz"), get("/readyz"), chat({"prompt": "a"}))
    after = ask(ready, get("/healthz"), get("/readyz"), chat({"prompt": "a"}))
    assert [answer[0] for answer in before] == [200, 503, 503]
    assert before[2][1]["Retry-After"] == "1"
    assert [answer[0] for answer in after] == [200, 200, 200]
    assert json.loads(after[0][2]) == {"status": "Healthy"}
    assert json.loads(after[2][2]) == {"Result": "aa"}


def test_a_dead_engine_is_unhealthy(ask: Ask) -> None:
    engine = EchoEngine()
    engine.ended.set_result(Failure(Reason.DEVICE_LOST, "the device no longer computes"))
    served = ServerState("text-generation", engine=engine)
    assert [a[0] for a in ask(served, get("/healthz"), get("/readyz"))] == [500, 503]


def test_the_root_names_the_adapter(ask: Ask) -> None:
    served = ServerState("text-generation", adapter_digest="sha256:12", engine=EchoEngine())
    ((_, headers, body),) = ask(served, get("/"))
    assert json.loads(body) == {"message": "Server is running"}
    assert headers["Kaito-Adapter-Digest"] == "sha256:12"


@pytest.mark.parametrize(
    ("trouble", "content", "status"),
    [
        (None, {}, 400),
        (None, {"prompt": 1}, 422),
        (None, "{", 422),
        (RequestRefusedError("write less"), {"prompt": "a"}, 400),
        (PromptTooLongError("too long"), {"prompt": "a"}, 413),
        (None, "x" * (Limits().body_bytes + 1), 413),
        (RuntimeError("secret detail"), {"prompt": "a"}, 500),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_errors_have_a_detail(
    ask: Ask, trouble: Exception | None, content: object, status: int
) -> None:
    engine = EchoEngine()
    engine.trouble = trouble
    ((code, _, body),) = ask(ServerState("text-generation", engine=engine), chat(content))
    assert code == status
    assert json.loads(body)["detail"]
    assert "secret" not in body


def test_a_full_queue_is_503_and_says_when_to_come_back(ask: Ask) -> None:
    engine = EchoEngine()
    engine.is_full = True
    ((code, headers, _),) = ask(
        ServerState("text-generation", engine=engine), chat({"prompt": "a"})
    )
    assert (code, headers["Retry-After"]) == (503, "1")


def test_a_conversation_is_answered_in_the_form_of_kaito(ask: Ask) -> None:
    served = ServerState("conversational", engine=EchoEngine())
    messages = {"messages": [{"role": "user", "content": "Hi"}]}
    ((_, _, body),) = ask(served, chat(messages))
    assert json.loads(body) == {"Result": "{'role': 'assistant', 'content': 'Hi'}"}


def test_metrics_are_for_prometheus_and_json_on_request(ask: Ask) -> None:
    served = ServerState("text-generation", engine=EchoEngine())
    answers = ask(
        served, chat({"prompt": "a"}), get("/metrics"), get("/metrics", Accept="application/json")
    )
    assert 'vllm:num_requests_running{model_name="echo"' in answers[1][2]
    assert "process_resident_memory_bytes" in answers[1][2]
    figures = json.loads(answers[2][2])
    assert figures["gpu_info"] or figures["cpu_info"]["total_cores"] >= 1


def test_two_ways_to_quantise_are_config_invalid(failure_of: FailureOf) -> None:
    flags = serve.parser().parse_args(["--load_in_4bit", "--load_in_8bit=true"])
    assert failure_of(quantization_of, flags).reason is Reason.CONFIG_INVALID


def test_a_port_in_use_is_named(failure_of: FailureOf) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failure = failure_of(
            lambda: asyncio.run(
                serve.serve(
                    lambda _: EchoEngine(), "127.0.0.1", port, ServerState("text-generation")
                )
            )
        )
    assert failure.reason is Reason.PORT_IN_USE
    assert str(port) in failure.message


def test_a_model_that_can_not_be_loaded_ends_the_server_with_its_reason() -> None:
    def load(_start: StartLedger) -> Never:
        raise Failure(Reason.WEIGHTS_INVALID, "no model")

    failure = asyncio.run(serve.serve(load, "127.0.0.1", 0, ServerState("text-generation")))
    assert failure
    assert failure.reason is Reason.WEIGHTS_INVALID


# From here on the real engine.


@pytest.fixture(scope="module")
def loaded(weights: Path) -> tuple[Any, Any]:
    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import load

    placement = load.choose_placement("float32")
    return load.load_base(weights, placement, QuantizationConfig()), load.load_tokenizer(weights)


PROMPTS = ["What does Ada like to eat?", "Where", "Tell me the code word of the bridge.", "Which"]


@pytest.fixture
def client(loaded: tuple[Any, Any]) -> Iterator[EngineClient]:
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    running = EngineClient(TransformersEngine(*loaded))
    yield running
    running.close()


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"max_tokens": None, "max_total_tokens": 3}, "max_total_tokens must be more than"),
        ({"greedy": False, "temperature": -1.0}, "temperature must be a number from 0"),
        ({"repetition_penalty": -1.0}, "repetition_penalty must be"),
        ({"logit_bias": {1 << 20: 1.0}}, "logit_bias must have token ids from 0 to"),
        ({"search": {"num_beams": 3}, "logprobs": 1}, "logprobs is not possible"),
        ({"search": {"num_beams": 3}, "n": 4}, "n must be at most num_beams"),
    ],
)
def test_settings_that_can_not_be_used_are_refused_and_the_engine_lives(
    client: EngineClient, sampling: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestRefusedError, match=says):
        client.ask("Where does the otter live?", **sampling)
    assert client.ask("Where").deltas[-1].prompt_tokens > 0


@pytest.mark.runtime
def test_a_prompt_beyond_the_context_is_refused_or_cut(client: EngineClient) -> None:
    long = "Where does the otter live? " * 60
    with pytest.raises(PromptTooLongError, match="256"):
        client.ask(long)
    answer = client.ask(Prompt(text=long, truncate=True))
    assert answer.deltas[-1].prompt_tokens == 256 - 3


@pytest.mark.runtime
def test_what_no_tokenizer_could_make_fit_is_refused_before_it_is_encoded(
    client: EngineClient,
) -> None:
    with pytest.raises(PromptTooLongError, match="2097152 characters"):
        client.ask("x" * (2 << 20))
    with pytest.raises(RequestRefusedError, match="at most 512"):
        client.ask(Prompt(messages=({"role": "user", "content": "Hi"},) * 513))


@pytest.mark.runtime
def test_a_full_queue_refuses(loaded: tuple[Any, Any]) -> None:
    from kaito_runtime.serving.engines.transformers.engine import EngineLimits, TransformersEngine

    engine = TransformersEngine(*loaded, limits=EngineLimits(waiting=2, rows=1))
    client = EngineClient(engine)
    first = client.submit("Where", max_tokens=200, ignore_eos=True)
    replies = [client.submit("Where", max_tokens=200, ignore_eos=True) for _ in range(50)]
    failed = {type(error) for each in replies if (error := each.exception(SECONDS))}
    assert failed == {QueueFullError}
    assert first.result(SECONDS).finish == "length"
    client.close()


def test_the_strength_is_in_the_variable_of_the_adapters_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure_of: FailureOf
) -> None:
    from kaito_runtime.models.adapters import mounted_adapters

    for name in ("my-adapter", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("my-adapter", "0.25")
    assert [strength for _, strength in mounted_adapters(tmp_path).values()] == [0.25, 1.0]
    monkeypatch.setenv("my-adapter", "strong")
    assert failure_of(mounted_adapters, tmp_path).reason is Reason.ADAPTER_INVALID


@pytest.mark.runtime
def test_the_program_serves_and_ends_on_sigterm(weights: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/weights").symlink_to(weights)
    flags = ("--host", "127.0.0.1", "--port", str(port), "--torch_dtype", "float32")
    with server_process(tmp_path, "kaito_runtime.serve", *flags) as (process, output):
        url = f"http://127.0.0.1:{port}"

        def one(prompt: str) -> str:
            body = json.dumps({"prompt": prompt, "generate_kwargs": {"max_new_tokens": 4}}).encode()
            with urllib.request.urlopen(f"{url}/chat", body, timeout=20) as answer:
                result: str = json.loads(answer.read())["Result"]
                return result

        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(one, PROMPTS * 4))
        assert all(text.startswith(p) for text, p in zip(answers, PROMPTS * 4, strict=True))
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - started < 15
        assert not re.search("Traceback|terminate called", output.read())
