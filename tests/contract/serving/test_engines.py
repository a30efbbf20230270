"""What every engine does with the same request."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

import jsonschema
import pytest

from kaito_runtime.serving.engine import (
    BASE,
    AdapterNotFoundError,
    Prompt,
    PromptTooLongError,
    QueueFullError,
)
from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError

from tests.contract.serving.conftest import KINDS, Served
from tests.contract.serving.engines import CONTEXT, ROWS, WAITING
from tests.harness.engine_client import Answer
from tests.harness.http_server import eventually
from tests.harness.lone_generate import SETTINGS, LoneGenerate

pytestmark = pytest.mark.runtime

SECONDS = 120
DRAWN: Mapping[str, Any] = {
    "greedy": False,
    "temperature": 1.9,
    "top_k": 40,
    "max_tokens": 15,
    "seed": 7,
}


@pytest.mark.parametrize(("ours", "theirs"), SETTINGS)
def test_a_setting_means_what_it_means_in_generate(
    model: Served, reference: LoneGenerate, ours: Any, theirs: Any
) -> None:
    for words in (3, 17):
        ids = reference.prompt(words)
        settings = {"max_tokens": 12, "logprobs": 0, **ours}
        answer = model.client.ask(Prompt(ids=ids), adapter=BASE, streams=words == 3, **settings)
        assert answer.ids == reference.ids(ids, **theirs)


def test_requests_of_any_settings_answer_as_if_each_were_alone(
    model: Served, reference: LoneGenerate
) -> None:
    chance = random.Random(1)
    asked = []
    for number in range(WAITING):
        ours, theirs = chance.choice(SETTINGS[3:])
        ids = reference.prompt(chance.choice((1, 2, 5, 30, 90)), chance.randrange(4))
        shared = reference.prompt(60) if number % 3 else ()
        asked.append(((*shared, *ids), ours, theirs))
    pending = [
        model.client.submit(
            Prompt(ids=ids),
            adapter=BASE,
            streams=number % 2 == 0,
            **{"max_tokens": 12, "logprobs": 0, **ours},
        )
        for number, (ids, ours, _) in enumerate(asked)
    ]
    for (ids, _, theirs), future in zip(asked, pending, strict=True):
        assert future.result(SECONDS).ids == reference.ids(ids, **theirs)


def test_the_prompt_is_encoded_as_the_trainer_does(model: Served, reference: LoneGenerate) -> None:
    from kaito_runtime.models.tokenization import question_of_messages

    messages = ({"role": "user", "content": "Where does the otter live?"},)
    ids = tuple(question_of_messages(reference.tokenizer, messages))
    answer = model.client.ask(Prompt(messages=messages), adapter=BASE, logprobs=0)
    assert answer.deltas[-1].prompt_tokens == len(ids)
    assert answer.ids == reference.ids(ids, max_new_tokens=3)


def test_a_stream_comes_in_pieces_whose_texts_are_the_answer(
    served: Served, reference: LoneGenerate
) -> None:
    ask: dict[str, Any] = {
        "max_tokens": 20,
        "ignore_eos": True,
        "logit_bias": reference.no_bytes,
        "adapter": BASE,
    }
    prompt = "Where does the otter live and what does it like to eat there?"
    pieces = served.client.ask(prompt, **ask).deltas
    (whole,) = served.client.ask(prompt, **ask, streams=False).deltas
    assert len(pieces) > 3
    assert [bool(piece.finish) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert sum(piece.new_tokens for piece in pieces) == whole.new_tokens
    assert {piece.prompt_tokens for piece in pieces} == {whole.prompt_tokens}


def test_a_stop_text_ends_an_answer_before_it_or_after_it(
    served: Served, reference: LoneGenerate
) -> None:
    ask: dict[str, Any] = {"max_tokens": 30, "logit_bias": reference.no_bytes, "adapter": BASE}
    prompt = "Where does the otter live and what does it like to eat there?"
    whole = served.client.ask(prompt, **ask, streams=False).text
    stop = whole[len(whole) // 2 :][:3]
    before = whole[: whole.index(stop)]
    for streams in (True, False):
        answer = served.client.ask(prompt, **ask, stop=("\x00never", stop), streams=streams)
        assert (answer.text, answer.finish) == (before, "stop")
        shown = served.client.ask(prompt, **ask, stop=(stop,), include_stop=True, streams=streams)
        assert shown.text.startswith(before + stop)
        assert whole.startswith(shown.text)


def test_several_sequences_are_answered_apart(served: Served) -> None:
    answer = served.client.ask("Where", n=3, max_tokens=4, ignore_eos=True, adapter=BASE)
    finishes = {delta.index: delta.finish for delta in answer.deltas if delta.finish}
    assert sorted(finishes) == [0, 1, 2]
    assert answer.of(0) == answer.of(1) == answer.of(2)


def test_each_of_several_sequences_is_drawn_on_its_own(
    model: Served, reference: LoneGenerate
) -> None:
    ids = reference.prompt(50)
    answer = model.client.ask(Prompt(ids=ids), n=4, adapter=BASE, **DRAWN)
    assert len({answer.of(index) for index in range(4)}) == 4
    assert model.client.ask(Prompt(ids=ids), adapter=BASE, **DRAWN).text == answer.of(0)


def test_a_seed_gives_the_same_answer_whoever_else_is_served(
    model: Served, reference: LoneGenerate
) -> None:
    ids = reference.prompt(9)
    alone = model.client.ask(Prompt(ids=ids), adapter=BASE, **DRAWN).text
    others = [
        model.client.submit(
            Prompt(ids=reference.prompt(n)), adapter=BASE, **{**DRAWN, "seed": -n, "top_p": 0.9}
        )
        for n in range(1, WAITING)
    ]
    again = model.client.submit(Prompt(ids=ids), adapter=BASE, **DRAWN)
    assert again.result(SECONDS).text == alone
    assert len({other.result(SECONDS).text for other in others}) > 6
    assert model.client.ask(Prompt(ids=ids), adapter=BASE, **{**DRAWN, "seed": 8}).text != alone


def test_log_probabilities_are_those_of_the_model(model: Served, reference: LoneGenerate) -> None:
    ids = reference.prompt(12)
    answer = model.client.ask(
        Prompt(ids=ids), max_tokens=6, logprobs=3, repetition_penalty=1.4, adapter=BASE
    )
    told = [each for delta in answer.deltas for each in delta.logprobs]
    assert len(told) == 6
    made = (*ids, *(each.id for each in told))
    scores = reference.log_probabilities(made)
    for place, each in enumerate(told):
        row = scores[len(ids) - 1 + place]
        assert each.token == reference.tokenizer.decode([each.id])
        assert each.logprob == pytest.approx(float(row[each.id]), abs=1e-4)
        assert [other.id for other in each.alternatives] == row.topk(3).indices.tolist()


@pytest.mark.parametrize(
    "more",
    [
        {"required": ["name", "age"]},
        {"required": ["age"]},
        # An option of the library, which is no client's.
        {"required": ["age"], "x-guidance": {"whitespace_pattern": "z{1,9}"}},
    ],
)
def test_an_answer_of_a_schema_is_valid_however_unlikely(
    model: Served, more: Mapping[str, Any]
) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["otter", "heron"]}, "age": {"enum": [1, 2, 3]}},
        "additionalProperties": False,
        **more,
    }
    drawn = {**DRAWN, "temperature": 2.0, "top_k": 0, "max_tokens": 150}
    answer = model.client.ask("Who?", structure=JsonStructure(schema), n=2, adapter=BASE, **drawn)
    for index in range(2):
        jsonschema.validate(json.loads(answer.of(index)), schema)
        assert " " * 17 not in answer.of(index)  # or it could go on with nothing
    assert answer.finish == "stop"


def test_tokens_that_end_an_answer_can_be_chosen(model: Served, reference: LoneGenerate) -> None:
    ids = reference.prompt(12)
    made = reference.ids(ids, min_new_tokens=12)
    end = made[6]
    answer = model.client.ask(
        Prompt(ids=ids), max_tokens=12, search={"eos_token_id": [end]}, adapter=BASE
    )
    count = sum(delta.new_tokens for delta in answer.deltas)
    assert (answer.finish, count) == ("stop", made.index(end) + 1)


def test_a_conversation_goes_on_from_what_was_computed(
    model: Served, reference: LoneGenerate
) -> None:
    ids = reference.prompt(200, seed=99)
    model.client.ask(Prompt(ids=ids), adapter=BASE)
    longer = (*ids, *reference.prompt(6))
    second = model.client.ask(Prompt(ids=longer), max_tokens=5, logprobs=0, adapter=BASE)
    assert second.deltas[0].cached_tokens >= 128
    assert second.ids == reference.ids(longer, max_new_tokens=5)


def test_adapters_are_chosen_by_name_beside_the_base(
    model: Served, reference: LoneGenerate
) -> None:
    names = [None, *KINDS]
    asked = [(words, name) for words in (3, 17, 40) for name in names]
    pending = [
        model.client.submit(
            Prompt(ids=reference.prompt(words)), adapter=name or BASE, max_tokens=12, logprobs=0
        )
        for words, name in asked
    ]
    for (words, name), future in zip(asked, pending, strict=True):
        assert future.result(SECONDS).ids == reference.ids(reference.prompt(words), name)
    assert len({tuple(reference.ids(reference.prompt(17), name)) for name in names}) == 3


def test_an_adapter_that_is_not_there_is_refused_with_those_that_are(model: Served) -> None:
    with pytest.raises(AdapterNotFoundError, match='"plain", "rslora"'):
        model.client.ask(adapter="elsewhere")
    assert [each.name for each in model.engine.adapters()] == sorted(KINDS)


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"max_tokens": None, "max_total_tokens": 1}, "max_total_tokens must be more than"),
    ({"greedy": False, "temperature": -1.0}, "temperature must be a number from 0"),
    ({"repetition_penalty": -1.0}, "repetition_penalty must be"),
    ({"logit_bias": {1 << 20: 1.0}}, "logit_bias must have token ids from 0 to"),
    ({"n": 33}, "n must be a number from 1 to 32"),
    ({"structure": JsonStructure({"type": "nothing"})}, "structure has a schema that is not"),
]


@pytest.mark.parametrize(("sampling", "message"), REFUSED)
def test_what_is_not_possible_is_refused_and_the_engine_lives(
    model: Served, sampling: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(RequestRefusedError, match=message):
        model.client.ask("Where does the otter live?", adapter=BASE, **sampling)
    assert model.client.ask("Where", adapter=BASE).deltas[-1].prompt_tokens > 0


def test_a_prompt_beyond_the_context_is_refused_or_cut(model: Served) -> None:
    long = "Where does the otter live? " * 60
    with pytest.raises(PromptTooLongError, match=str(CONTEXT)):
        model.client.ask(long, adapter=BASE)
    answer = model.client.ask(Prompt(text=long, truncate=True), adapter=BASE)
    assert answer.deltas[-1].prompt_tokens == CONTEXT - 3
    assert model.engine.model().context == CONTEXT


def test_a_client_that_hangs_up_leaves_nothing_behind(model: Served) -> None:
    gone = model.client.submit("Where", max_tokens=240, ignore_eos=True, adapter=BASE)
    eventually(lambda: model.engine.load().running > 0)
    assert gone.cancel()
    with pytest.raises(CancelledError):
        gone.result(SECONDS)
    eventually(lambda: model.engine.load().running == 0)
    assert model.client.ask("Where", adapter=BASE).text


def test_an_aborted_request_ends_early(model: Served) -> None:
    answer = Answer()
    running = model.client.submit(
        max_tokens=240, ignore_eos=True, adapter=BASE, request_id="mine", answer=answer
    )
    eventually(lambda: bool(answer.deltas))
    model.engine.abort("mine")
    assert not any(delta.finish for delta in running.result(SECONDS).deltas)
    eventually(lambda: model.engine.load().running == 0)


def test_time_that_is_over_ends_an_answer(model: Served) -> None:
    answer = model.client.ask("Where", max_tokens=240, ignore_eos=True, max_seconds=0, adapter=BASE)
    assert answer.finish == "length"
    assert answer.deltas[-1].new_tokens < 240


def test_a_full_queue_refuses_and_answers_the_others(model: Served) -> None:
    asked = [
        model.client.submit("Where", max_tokens=60, ignore_eos=True, adapter=BASE)
        for _ in range(4 * (ROWS + WAITING))
    ]
    errors = [future.exception(SECONDS) for future in asked]
    assert {type(error) for error in errors if error} == {QueueFullError}
    answered = [future.result() for future in asked if not future.exception()]
    assert len(answered) >= WAITING
    assert {answer.finish for answer in answered} == {"length"}


def test_it_is_healthy_and_counts_what_it_does(model: Served) -> None:
    assert model.engine.is_healthy()
    assert not model.engine.ended.done()
    eventually(lambda: (model.engine.load().running, model.engine.load().waiting) == (0, 0))
    assert 0.0 <= model.engine.load().cache_use <= 1.0
