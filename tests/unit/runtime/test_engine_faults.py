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
from kaito_runtime.serving.batch_engine import ChatFailedError, ChatReply, ChatRequest
from kaito_runtime.serving.engine import EngineEndedError, PromptTooLongError, QueueFullError
from kaito_runtime.serving.sampling import RequestRefusedError

if TYPE_CHECKING:
    from kaito_runtime.serving.engines.transformers import BatchingEngine

    from tests.harness.scripted_model import ScriptedModel

pytestmark = pytest.mark.runtime

SECONDS = 20
"""How long to wait for what must come at once."""


def ask(prompt: str = "Where", **generation: object) -> ChatRequest:
    settings = {"do_sample": False, "max_new_tokens": 3, **generation}
    return ChatRequest(prompt=prompt, generation=settings, return_full_text=False)


def running(
    moment: Callable[[], object] = lambda: None, **named: Any
) -> tuple[BatchingEngine, ScriptedModel]:
    from kaito_runtime.serving.engines.transformers import BatchingEngine

    from tests.harness.scripted_model import ScriptedModel, ScriptedTokenizer

    model = ScriptedModel(moment)
    return BatchingEngine(model, ScriptedTokenizer(moment), **named), model


@pytest.fixture
def engine() -> Iterator[BatchingEngine]:
    engine, _ = running()
    yield engine
    engine.stop()


def assert_answers(engine: BatchingEngine) -> None:
    assert engine.submit(ask()).result(SECONDS).text == "aaa"
    assert engine.is_alive()


def test_a_client_that_hangs_up_while_its_prompt_is_refused_ends_nothing() -> None:
    replies: list[Future[ChatReply]] = []
    engine, _ = running(moment=lambda: [reply.cancel() for reply in replies])
    for prompt in ("a long prompt", "<encode ValueError>", "<encode Panic>"):
        replies[:] = [engine.submit(ask(prompt, max_new_tokens=None, max_length=3))]
        wait(replies, SECONDS)
        assert replies[0].cancelled()
    replies.clear()
    assert_answers(engine)
    engine.stop()


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("<encode ValueError>", RequestRefusedError),
        ("<encode Panic>", RequestRefusedError),
        ("<decode RuntimeError>", ChatFailedError),
        ("<decode Panic>", ChatFailedError),
        ("<generate ValueError>", RequestRefusedError),
        ("<generate IndexError>", RequestRefusedError),
        ("<generate RuntimeError>", ChatFailedError),
        ("<generate Panic>", ChatFailedError),
        ("<generate OutOfMemory>", PromptTooLongError),
        ("<generate MemoryError>", PromptTooLongError),
        ("\U0001f9a6", RequestRefusedError),  # a token that the model does not have
    ],
)
def test_what_one_request_raises_is_its_own_answer(
    engine: BatchingEngine, prompt: str, answer: type[Exception]
) -> None:
    with pytest.raises(answer):
        engine.submit(ask(prompt)).result(SECONDS)
    assert_answers(engine)


@pytest.mark.parametrize("trouble", ["OutOfMemory", "RuntimeError", "Panic"])
def test_a_request_that_fails_takes_none_of_its_batch_with_it(trouble: str) -> None:
    entered, go = threading.Event(), threading.Event()

    def moment() -> None:
        entered.set()
        go.wait(SECONDS)

    engine, model = running(moment)
    first = engine.submit(ask("first"))
    entered.wait(SECONDS)  # what comes now waits, and forms one batch
    good = [engine.submit(ask()) for _ in range(5)]
    bad = engine.submit(ask(f"<generate {trouble}>"))
    good += [engine.submit(ask()) for _ in range(5)]
    go.set()
    assert [reply.result(SECONDS).text for reply in [first, *good]] == ["aaa"] * 11
    assert bad.exception(SECONDS)
    assert 11 in model.batches
    engine.stop()


@pytest.mark.parametrize(
    ("generation", "says"),
    [
        ({"num_return_sequences": 10_000_000}, "from 1 to 32"),
        ({"num_beams": 10_000_000}, "from 1 to 32"),
        ({"num_return_sequences": "many"}, "from 1 to 32"),
        ({"pad_token_id": 1_000_000_000}, "from 0 to 999"),
        ({"forced_eos_token_id": -1}, "from 0 to 999"),
        ({"eos_token_id": [2, 1000]}, "from 0 to 999"),
        ({"temperature": 1e-320, "do_sample": True}, "at least 0.001"),
        ({"repetition_penalty": float("inf")}, "finite"),
        ({"stop_strings": "x" * 1000}, "256 characters"),
        ({"stop_strings": ["x"] * 100}, "at most 16"),
        ({"stop_strings": [[[]]]}, "texts"),
    ],
)
def test_settings_that_would_harm_others_are_refused_by_name(
    engine: BatchingEngine, generation: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestRefusedError, match=says):
        engine.submit(ask(**generation)).result(SECONDS)
    assert_answers(engine)


def test_settings_that_are_no_json_are_refused_at_once(engine: BatchingEngine) -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for strange in ({1, 2}, nested):
        with pytest.raises(RequestRefusedError):
            engine.submit(ask(stop_strings=strange))
    assert_answers(engine)


def test_clients_that_hang_up_free_their_places_in_the_queue() -> None:
    entered, go = threading.Event(), threading.Event()

    def moment() -> None:
        entered.set()
        go.wait(SECONDS)

    engine, _ = running(moment, waiting_limit=3)
    first = engine.submit(ask())
    entered.wait(SECONDS)
    gone = [engine.submit(ask()) for _ in range(3)]
    with pytest.raises(QueueFullError):
        engine.submit(ask())
    for reply in gone:
        reply.cancel()
    assert engine.waiting() == 0
    last = engine.submit(ask())
    go.set()
    assert first.result(SECONDS)
    assert last.result(SECONDS)
    engine.stop()


@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_random_requests_and_disconnects_leave_an_engine_that_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.harness.scripted_model import TROUBLE

    chance = random.Random(11)
    pending: list[Future[ChatReply]] = []

    def hang_up_sometimes() -> None:
        if pending and chance.random() < 0.05:
            chance.choice(pending).cancel()

    engine, _ = running(moment=hang_up_sometimes)
    prompts = [words for words in TROUBLE if "Assert" not in words] + ["x" * (2 * 400)]
    asked = full = 0
    while asked < 10_000:
        prompt = "Where" if chance.random() < 0.6 else chance.choice(prompts)
        lengths: dict[str, int | None] = chance.choice([{"max_new_tokens": chance.randint(1, 4)},
                                 {"max_new_tokens": None, "max_length": chance.randint(1, 12)}])  # fmt: skip
        settings: dict[str, int] = chance.choice(
            [{}, {}, {"num_return_sequences": 2}, {"top_k": 5}]
        )
        try:
            pending.append(engine.submit(ask(prompt, **lengths, **settings)))
            asked += 1
        except QueueFullError:
            full += 1
            wait(pending[:1], SECONDS)
        pending[:] = [reply for reply in pending if not reply.done()]
    assert not wait(list(pending), SECONDS).not_done
    assert full > 0
    pending.clear()
    assert_answers(engine)
    engine.stop()
    capsys.readouterr()  # the tracebacks of what was meant to fail


def test_a_lost_device_ends_the_engine_and_tells_everyone_who_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entered, go = threading.Event(), threading.Event()

    def moment() -> None:
        entered.set()
        go.wait(SECONDS)

    engine, _ = running(moment)
    replies = [engine.submit(ask("<generate Assert>"))]
    entered.wait(SECONDS)
    replies += [engine.submit(ask(top_k=1 + number)) for number in range(20)]
    go.set()
    assert {type(reply.exception(SECONDS)) for reply in replies} == {EngineEndedError}
    failure = engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is Reason.DEVICE_LOST
    assert "device-side assert triggered" in failure.message
    assert not engine.is_alive()
    with pytest.raises(EngineEndedError):
        engine.submit(ask())
    engine.stop()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (RuntimeError("the words of a driver of tomorrow"), Reason.DEVICE_LOST),
        (RuntimeError("CUDA error: out of memory"), Reason.OUT_OF_MEMORY),
        (ValueError("no request is to blame"), Reason.DEVICE_LOST),
    ],
)
def test_an_engine_that_can_not_prove_itself_after_an_error_ends(
    broken: Exception, reason: Reason
) -> None:
    engine, model = running()
    assert_answers(engine)
    model.broken = broken
    assert engine.submit(ask()).exception(SECONDS)
    failure = engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is reason
    engine.stop()


def test_the_end_of_the_thread_for_any_reason_is_told_to_everyone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entered, go = threading.Event(), threading.Event()

    def moment() -> None:
        entered.set()
        go.wait(SECONDS)

    engine, _ = running(moment)
    replies = [engine.submit(ask())]
    entered.wait(SECONDS)
    replies += [engine.submit(ask()) for _ in range(3)]

    def fault() -> Never:
        raise KeyError("a fault of our own")

    monkeypatch.setattr(engine._queue, "take", fault)
    go.set()
    assert replies[0].result(SECONDS).text == "aaa"
    assert {type(reply.exception(SECONDS)) for reply in replies[1:]} == {EngineEndedError}
    failure = engine.ended.result(SECONDS)
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.INTERNAL_ERROR


@pytest.mark.parametrize("seed", range(20))
def test_whenever_the_device_is_lost_every_request_has_an_answer(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    engine, model = running()
    replies: list[Future[ChatReply]] = []
    told: list[type[Exception]] = []

    def client() -> None:
        for _ in range(50):
            try:
                replies.append(engine.submit(ask(top_k=chance.randint(1, 3))))
            except (QueueFullError, EngineEndedError) as error:
                told.append(type(error))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    if seed % 4:  # otherwise at once
        wait(replies[: chance.randint(1, 20)], SECONDS)
    model.broken = RuntimeError("CUDA error: an illegal memory access was encountered")
    for thread in clients:
        thread.join()
    client()  # the last word: if the engine lives still, it learns now
    assert not wait(replies, SECONDS).not_done
    failure = engine.ended.result(SECONDS)
    assert failure
    assert failure.reason is Reason.DEVICE_LOST
    engine.stop()


def test_stopping_answers_what_waits_and_refuses_what_comes_after() -> None:
    engine, _ = running()
    replies = [engine.submit(ask()) for _ in range(40)]
    engine.stop()
    assert {reply.result(0).text for reply in replies} == {"aaa"}
    assert engine.ended.result(0) is None
    with pytest.raises(EngineEndedError):
        engine.submit(ask())
