"""No request ends the engine, and no request is forgotten when the engine ends."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Never

import pytest

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import (
    EngineEndedError,
    GenerationFailedError,
    PromptTooLongError,
    QueueFullError,
)
from kaito_runtime.serving.sampling import RequestRefusedError

from tests.harness.engine_client import SECONDS, Answer, EngineClient, soon

if TYPE_CHECKING:
    from tests.harness.scripted_model import ScriptedModel

pytestmark = pytest.mark.runtime

BEAMS = {"search": {"num_beams": 2}}
"""What makes a request run through generate()."""


def running(
    moment: Callable[[], object] = lambda: None, **limits: Any
) -> tuple[EngineClient, ScriptedModel]:
    from kaito_runtime.serving.engines.transformers.engine import EngineLimits, TransformersEngine

    from tests.harness.scripted_model import ScriptedModel, ScriptedTokenizer

    model = ScriptedModel(moment)
    engine = TransformersEngine(model, ScriptedTokenizer(moment), limits=EngineLimits(**limits))
    model.batches.clear()
    return EngineClient(engine), model


@pytest.fixture
def client() -> Iterator[EngineClient]:
    client, _ = running()
    yield client
    client.close()


class Gate:
    """A moment that the engine's thread waits at, once it is closed."""

    def __init__(self) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        self._open.set()

    def __call__(self) -> None:
        if threading.current_thread().name == "engine" and not self._open.is_set():
            self.entered.set()
            self._open.wait(SECONDS)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


def held() -> tuple[EngineClient, ScriptedModel, Gate, Future[Answer]]:
    """An engine that is busy with a first request, until the gate is opened."""
    gate = Gate()
    client, model = running(gate)
    gate.close()
    first = client.submit("first")
    assert gate.entered.wait(SECONDS)
    return client, model, gate, first


def assert_answers(client: EngineClient) -> None:
    assert client.ask().text == "aaa"
    assert client.engine.is_healthy()


def test_a_client_that_hangs_up_while_its_prompt_is_refused_ends_nothing() -> None:
    replies: list[Future[Answer]] = []
    asked = threading.Event()
    asked.set()

    def hang_up() -> None:
        asked.wait(SECONDS)
        for reply in replies:
            reply.cancel()

    client, _ = running(moment=hang_up)
    for prompt in ("a long prompt", "<encode ValueError>", "<encode Panic>"):
        asked.clear()
        replies[:] = [client.submit(prompt, max_tokens=None, max_total_tokens=3)]
        asked.set()
        wait(replies, SECONDS)
        assert replies[0].cancelled()
    replies.clear()
    assert_answers(client)
    client.close()


@pytest.mark.parametrize(
    ("prompt", "more", "answer"),
    [
        ("<encode ValueError>", {}, RequestRefusedError),
        ("<encode Panic>", {}, RequestRefusedError),
        ("<decode RuntimeError>", {}, GenerationFailedError),
        ("<decode Panic>", {}, GenerationFailedError),
        ("<compute ValueError>", {}, GenerationFailedError),
        ("<compute RuntimeError>", {}, GenerationFailedError),
        ("<compute Panic>", {}, GenerationFailedError),
        ("<compute OutOfMemory>", {}, PromptTooLongError),
        ("<compute MemoryError>", {}, PromptTooLongError),
        ("<generate ValueError>", BEAMS, RequestRefusedError),
        ("<generate IndexError>", BEAMS, RequestRefusedError),
        ("<generate RuntimeError>", BEAMS, GenerationFailedError),
        ("<generate Panic>", BEAMS, GenerationFailedError),
        ("<generate OutOfMemory>", BEAMS, PromptTooLongError),
        ("\U0001f9a6", {}, RequestRefusedError),  # a token that the model does not have
    ],
)
def test_what_one_request_raises_is_its_own_answer(
    client: EngineClient, prompt: str, more: dict[str, Any], answer: type[Exception]
) -> None:
    with pytest.raises(answer):
        client.ask(prompt, **more)
    assert_answers(client)


@pytest.mark.parametrize("trouble", ["<decode RuntimeError>", "<decode Panic>"])
def test_several_sequences_of_which_one_fails_leave_the_others_as_they_are(trouble: str) -> None:
    client, model, gate, first = held()
    good = client.submit("x" * len(trouble), max_tokens=10)
    bad = client.submit(trouble, n=3)
    soon(lambda: len(client.engine._intake._inbox) == 2)  # type: ignore[attr-defined]
    model.batches.clear()
    gate.open()
    assert isinstance(bad.exception(SECONDS), GenerationFailedError)
    assert (first.result(SECONDS).text, good.result(SECONDS).text) == ("aaa", "a" * 10)
    assert len(model.batches) <= 12  # nothing was computed once more
    client.close()


def test_an_engine_whose_step_does_not_end_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    from kaito_runtime.serving.engines.transformers import engine

    client, _, gate, first = held()
    assert client.engine.is_healthy()
    monkeypatch.setattr(engine, "STEP_LIMIT_SECONDS", 0.0)
    assert not client.engine.is_healthy()
    gate.open()
    assert first.result(SECONDS)
    soon(client.engine.is_healthy)
    client.close()


@pytest.mark.parametrize("trouble", ["OutOfMemory", "RuntimeError", "Panic"])
def test_a_request_that_fails_takes_none_of_its_batch_with_it(trouble: str) -> None:
    client, model, gate, first = held()
    words = f"<compute {trouble}>"
    like = "x" * len(words)  # as long: their prompts are computed together
    good = [client.submit(like) for _ in range(5)]
    bad = client.submit(words)
    good += [client.submit(like) for _ in range(5)]
    soon(lambda: len(client.engine._intake._inbox) == 11)  # type: ignore[attr-defined]
    gate.open()
    assert [reply.result(SECONDS).text for reply in [first, *good]] == ["aaa"] * 11
    assert bad.exception(SECONDS)
    assert 11 in model.batches
    client.close()


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"n": 10_000_000}, "from 1 to 32"),
        ({"search": {"num_beams": 10_000_000}}, "from 1 to 32"),
        ({"search": {"num_beams": "many"}}, "from 1 to 32"),
        ({"search": {"forced_eos_token_id": -1}}, "from 0 to 999"),
        ({"search": {"eos_token_id": [2, 1000]}}, "from 0 to 999"),
        ({"temperature": 1e-320, "greedy": False}, "at least 0.001"),
        ({"repetition_penalty": float("inf")}, "finite"),
        ({"top_p": 1.5}, "from 0 to 1"),
        ({"max_tokens": 0}, "at least 1"),
        ({"seed": 1 << 80}, "found 1208925819614629174706176"),
        ({"stop": ("x" * 1000,)}, "256 characters"),
        ({"stop": ("x",) * 100}, "at most 16"),
        ({"stop": ("",)}, "1 to 256 characters"),
        ({"logit_bias": {1000: 1.0}}, "from 0 to 999"),
        ({"logit_bias": {5: 1e9}}, "-100 to 100"),
    ],
)
def test_settings_that_would_harm_others_are_refused_by_name(
    client: EngineClient, sampling: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestRefusedError, match=says):
        client.ask(**sampling)
    assert_answers(client)


def test_clients_that_hang_up_free_their_places_in_the_queue() -> None:
    gate = Gate()
    client, _ = running(gate, waiting=3, rows=1)
    gate.close()
    first = client.submit()
    assert gate.entered.wait(SECONDS)
    gone = [client.submit() for _ in range(3)]
    soon(lambda: client.engine.load().waiting == 3)
    with pytest.raises(QueueFullError):
        client.ask()
    for reply in gone:
        reply.cancel()
    soon(lambda: client.engine.load().waiting == 0)
    last = client.submit()
    gate.open()
    assert first.result(SECONDS)
    assert last.result(SECONDS)
    client.close()


def test_a_request_that_is_aborted_ends_without_an_error() -> None:
    client, _, gate, first = held()
    client.engine.abort("request-0")
    assert first.result(SECONDS).deltas == []
    gate.open()
    assert_answers(client)
    client.close()


@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_random_requests_and_disconnects_leave_an_engine_that_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.harness.scripted_model import TROUBLE

    chance = random.Random(11)
    pending: list[Future[Answer]] = []

    def hang_up_sometimes() -> None:
        if pending and chance.random() < 0.05:
            chance.choice(pending).cancel()

    client, _ = running(moment=hang_up_sometimes)
    prompts = [words for words in TROUBLE if "Assert" not in words] + ["x" * (2 * 400)]
    lengths: list[dict[str, Any]] = [
        *({"max_tokens": number} for number in range(1, 5)),
        *({"max_tokens": None, "max_total_tokens": number} for number in range(1, 13)),
    ]
    more: list[dict[str, Any]] = [{}, {}, {"n": 2}, {"greedy": False, "top_k": 5}, BEAMS]
    answered = full = 0
    for _ in range(10_000):
        prompt = "Where" if chance.random() < 0.6 else chance.choice(prompts)
        pending.append(client.submit(prompt, **chance.choice(lengths), **chance.choice(more)))
        if len(pending) > 200:
            done, rest = wait(pending[:50], SECONDS)
            assert not rest
            answered += sum(not each.cancelled() and not each.exception() for each in done)
            full += sum(
                not each.cancelled() and isinstance(each.exception(), QueueFullError)
                for each in done
            )
            pending[:] = pending[50:]
    assert not wait(list(pending), SECONDS).not_done
    assert answered > 1_000
    pending.clear()
    assert_answers(client)
    client.close()
    capsys.readouterr()  # the tracebacks of what was meant to fail


def test_a_lost_device_ends_the_engine_and_tells_everyone_who_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client, _, gate, first = held()
    replies = [first, client.submit("<compute Assert>")]
    replies += [client.submit(top_k=1 + number) for number in range(20)]
    soon(lambda: client.engine.load().waiting == 21)
    gate.open()
    assert {type(reply.exception(SECONDS)) for reply in replies} == {EngineEndedError}
    failure = client.engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is Reason.DEVICE_LOST
    assert "device-side assert triggered" in failure.message
    assert not client.engine.is_healthy()
    with pytest.raises(EngineEndedError):
        client.ask()
    client.close()


@pytest.mark.parametrize("more", [{}, BEAMS])
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (RuntimeError("the words of a driver of tomorrow"), Reason.DEVICE_LOST),
        (RuntimeError("CUDA error: out of memory"), Reason.OUT_OF_MEMORY),
        (ValueError("no request is to blame"), Reason.DEVICE_LOST),
    ],
)
def test_an_engine_that_can_not_prove_itself_after_an_error_ends(
    broken: Exception, reason: Reason, more: dict[str, Any]
) -> None:
    client, model = running()
    assert_answers(client)
    model.broken = broken
    assert client.submit(**more).exception(SECONDS)
    failure = client.engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is reason
    client.close()


def test_the_end_of_the_thread_for_any_reason_is_told_to_everyone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client, _, gate, first = held()
    replies = [client.submit() for _ in range(3)]
    soon(lambda: client.engine.load().waiting == 3)

    def fault() -> Never:
        raise KeyError("a fault of our own")

    monkeypatch.setattr(client.engine._intake, "arrivals", fault)  # type: ignore[attr-defined]
    gate.open()
    assert {type(each.exception(SECONDS)) for each in [first, *replies]} == {EngineEndedError}
    failure = client.engine.ended.result(SECONDS)
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.INTERNAL_ERROR
    client.close()


@pytest.mark.parametrize("seed", range(20))
def test_whenever_the_device_is_lost_every_request_has_an_answer(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    client, model = running()
    replies = [client.submit(top_k=chance.randint(1, 3)) for _ in range(100)]
    if seed % 4:  # otherwise at once
        wait(replies[: chance.randint(1, 20)], SECONDS)
    model.broken = RuntimeError("CUDA error: an illegal memory access was encountered")
    replies += [client.submit() for _ in range(50)]
    assert not wait(replies, SECONDS).not_done
    failure = client.engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is Reason.DEVICE_LOST
    client.close()


def test_stopping_answers_what_waits_and_refuses_what_comes_after() -> None:
    client, _, gate, first = held()
    replies = [first, *(client.submit() for _ in range(40))]
    soon(lambda: client.engine.load().waiting == 40)
    stopping = threading.Thread(target=client.engine.stop)
    stopping.start()
    gate.open()
    stopping.join()
    assert {reply.result(SECONDS).text for reply in replies} == {"aaa"}
    assert client.engine.ended.result(0) is None
    with pytest.raises(EngineEndedError):
        client.ask()
    client.close()
