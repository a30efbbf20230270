"""A row of the slot pool has the answer that it would have alone, whatever its neighbours do."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from kaito_runtime.serving.engine import Prompt
from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError

from tests.harness.engine_client import SECONDS, EngineClient

pytestmark = pytest.mark.runtime

PLACES = ("the harbour", "a bridge", "the old mill", "the station")
ENDED = {"eos_token_id": None}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kaito_runtime.models import load

    from tests.harness.tiny_model import make_tiny_model

    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"))
    load.quiet()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def client(parts: tuple[Any, Any]) -> Iterator[EngineClient]:
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    client = EngineClient(TransformersEngine(*parts))
    yield client
    client.close()


def ids_of(parts: tuple[Any, Any], words: int, seed: int = 0) -> tuple[int, ...]:
    """A prompt of so many random tokens."""
    chance = random.Random(f"{words}/{seed}")
    return tuple(chance.randrange(300, len(parts[1])) for _ in range(words))


def lone(parts: tuple[Any, Any], ids: tuple[int, ...], **generation: Any) -> list[int]:
    """What transformers' generate() answers to one prompt alone."""
    import torch

    model, _ = parts
    inputs = torch.tensor([ids])
    with torch.inference_mode():
        made = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            pad_token_id=0,
            **{"do_sample": False, "max_new_tokens": 12, **generation},
        )
    found: list[int] = made[0, len(ids) :].tolist()
    return found


def text_of(parts: tuple[Any, Any], prompt: tuple[int, ...], ids: list[int]) -> str:
    tokenizer = parts[1]
    before = tokenizer.decode(prompt[-6:], skip_special_tokens=True)
    whole: str = tokenizer.decode([*prompt[-6:], *ids], skip_special_tokens=True)
    return whole[len(before) :]


SETTINGS: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
    ({"max_tokens": 1}, {"max_new_tokens": 1}),
    ({"max_tokens": 40}, {"max_new_tokens": 40}),
    ({"max_tokens": None, "max_total_tokens": 40}, {"max_new_tokens": None, "max_length": 40}),
    ({"max_tokens": 20, "min_tokens": 20}, {"max_new_tokens": 20, "min_new_tokens": 20}),
    ({"max_tokens": 20, "min_total_tokens": 20}, {"max_new_tokens": 20, "min_length": 20}),
    ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
    ({"repetition_penalty": 0.6}, {"repetition_penalty": 0.6}),
    ({"logit_bias": {305: 50.0}}, {"sequence_bias": [[[305], 50.0]]}),
    # Drawing among the likeliest one is no drawing.
    ({"greedy": False, "top_k": 1, "temperature": 3.0}, {}),
    ({"greedy": False, "top_k": 0, "top_p": 1e-6}, {}),
    ({"greedy": False, "top_k": 0, "min_p": 1.0}, {}),
]


@pytest.mark.parametrize(("ours", "theirs"), SETTINGS)
def test_a_setting_means_what_it_means_in_generate(
    parts: tuple[Any, Any], client: EngineClient, ours: Any, theirs: Any
) -> None:
    for words in (3, 17):
        ids = ids_of(parts, words)
        answer = client.ask(Prompt(ids=ids), **{"max_tokens": 12, **ours, "streams": False})
        assert answer.text == text_of(parts, ids, lone(parts, ids, **theirs))


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_any_settings_answer_as_if_each_were_alone(
    parts: tuple[Any, Any], client: EngineClient, seed: int
) -> None:
    chance = random.Random(seed)
    asked = []
    for number in range(24):
        ours, theirs = chance.choice(SETTINGS)
        ids = ids_of(parts, chance.choice((1, 2, 5, 30, 90)), chance.randrange(4))
        if number % 3:
            ids = ids_of(parts, 60) + ids  # a beginning that many share
        if theirs.get("max_length") and len(ids) > 30:
            continue
        asked.append((ids, ours, theirs))
    pending = [
        client.submit(Prompt(ids=ids), streams=False, **{"max_tokens": 12, **ours})
        for ids, ours, _ in asked
    ]
    answers = [future.result(SECONDS).text for future in pending]
    for (ids, _, theirs), answer in zip(asked, answers, strict=True):
        assert answer == text_of(parts, ids, lone(parts, ids, **theirs))


def test_a_seed_gives_the_same_answer_whoever_else_is_served(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    drawn: dict[str, Any] = {
        "greedy": False,
        "temperature": 2.0,
        "top_k": 40,
        "max_tokens": 20,
        "seed": 7,
    }
    ids = ids_of(parts, 9)
    alone = client.ask(Prompt(ids=ids), **drawn).text
    others = [client.submit(Prompt(ids=ids_of(parts, n)), **{**drawn, "seed": n, "top_p": 0.9})
              for n in range(1, 20)]  # fmt: skip
    again = client.submit(Prompt(ids=ids), **drawn)
    assert again.result(SECONDS).text == alone
    assert len({other.result(SECONDS).text for other in others}) > 10
    assert client.ask(Prompt(ids=ids), **{**drawn, "seed": 8}).text != alone


def test_a_row_that_joins_late_and_one_that_leaves_early_change_nobody(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    long, short = ids_of(parts, 40), ids_of(parts, 4)
    first = client.submit(Prompt(ids=long), max_tokens=100, streams=False)
    gone = client.submit(Prompt(ids=ids_of(parts, 20)), max_tokens=100)
    assert client.ask(Prompt(ids=short), max_tokens=5, streams=False).text == text_of(
        parts, short, lone(parts, short, max_new_tokens=5)
    )
    gone.cancel()
    want = lone(parts, long, max_new_tokens=100)
    assert first.result(SECONDS).text == text_of(parts, long, want)


def test_each_of_several_sequences_is_drawn_on_its_own(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    drawn: dict[str, Any] = {
        "greedy": False,
        "temperature": 2.0,
        "top_k": 0,
        "max_tokens": 15,
        "seed": 3,
    }
    answer = client.ask(Prompt(ids=ids_of(parts, 50)), n=4, **drawn)
    assert len({answer.of(index) for index in range(4)}) == 4
    assert client.ask(Prompt(ids=ids_of(parts, 50)), **drawn).text == answer.of(0)


def test_a_stop_text_ends_an_answer_before_it_or_after_it(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    ids = ids_of(parts, 8)
    whole = client.ask(Prompt(ids=ids), max_tokens=30, streams=False).text
    stop = whole[len(whole) // 2 :][:3]
    before = whole[: whole.index(stop)]
    answer = client.ask(Prompt(ids=ids), max_tokens=30, stop=("\x00never", stop))
    assert (answer.text, answer.finish) == (before, "stop")
    shown = client.ask(Prompt(ids=ids), max_tokens=30, stop=(stop,), include_stop=True).text
    assert shown.startswith(before + stop)
    assert whole.startswith(shown)


def test_log_probabilities_are_those_of_the_model(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    import torch

    model, _ = parts
    ids = ids_of(parts, 12)
    answer = client.ask(Prompt(ids=ids), max_tokens=6, logprobs=3, repetition_penalty=1.4)
    said = [each for delta in answer.deltas for each in delta.logprobs]
    assert len(said) == 6
    made = [*ids, *(each.id for each in said)]
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([made])).logits[0].log_softmax(dim=-1)
    for place, each in enumerate(said):
        row = scores[len(ids) - 1 + place]
        assert each.logprob == pytest.approx(float(row[each.id]), abs=1e-4)
        assert [other.id for other in each.alternatives] == row.topk(3).indices.tolist()


def test_beams_and_methods_without_a_neutral_name_run_beside_the_others(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    ids = ids_of(parts, 10)
    beams = {"num_beams": 3, "no_repeat_ngram_size": 2}
    slow = client.submit(Prompt(ids=ids), max_tokens=40, search=beams, streams=False)
    quick = [
        client.submit(Prompt(ids=ids_of(parts, n)), max_tokens=4, streams=False)
        for n in range(1, 9)
    ]
    found, answers = slow.result(SECONDS).text, [each.result(SECONDS).text for each in quick]
    for n, answer in enumerate(answers, 1):
        mine = ids_of(parts, n)
        assert answer == text_of(parts, mine, lone(parts, mine, max_new_tokens=4))
    assert found == text_of(parts, ids, lone(parts, ids, max_new_tokens=40, **beams))


def test_a_long_conversation_goes_on_from_what_was_computed(
    parts: tuple[Any, Any], client: EngineClient
) -> None:
    ids = ids_of(parts, 70, seed=99)
    first = client.ask(Prompt(ids=ids), max_tokens=5)
    assert first.deltas[0].cached_tokens == 0
    longer = (*ids, *ids_of(parts, 6))
    second = client.ask(Prompt(ids=longer), max_tokens=5, streams=False)
    assert second.deltas[0].cached_tokens >= 70
    assert second.text == text_of(parts, longer, lone(parts, longer, max_new_tokens=5))


SCHEMA = {
    "type": "object",
    "properties": {"place": {"enum": ["the mill", "the bridge"]}, "far": {"type": "boolean"}},
    "required": ["place", "far"],
    "additionalProperties": False,
}


def test_an_answer_of_a_schema_is_valid_however_unlikely(client: EngineClient) -> None:
    drawn: dict[str, Any] = {"greedy": False, "temperature": 3.0, "top_k": 0, "max_tokens": 150}
    pending = [
        client.submit(
            "Where?",
            structure=JsonStructure(SCHEMA),
            seed=seed,
            n=2,
            streams=bool(seed % 2),
            **drawn,
        )
        for seed in range(8)
    ]
    free = client.submit("Where?", seed=1, **drawn)
    for future in pending:
        answer = future.result(SECONDS)
        assert answer.finish == "stop"
        for index in range(2):
            jsonschema.validate(json.loads(answer.of(index)), SCHEMA)
            assert " " * 17 not in answer.of(index)
    assert not free.result(SECONDS).text.startswith("{")


@pytest.mark.parametrize(
    "schema", [{"type": "otter"}, {"$ref": "https://elsewhere/"}, {"x": "y" * 70_000}]
)
def test_a_schema_that_can_not_be_held_is_refused_in_words(
    client: EngineClient, schema: dict[str, Any]
) -> None:
    with pytest.raises(
        RequestRefusedError, match=r"structure (has a schema that|must have a schema)"
    ):
        client.ask(structure=JsonStructure(schema))
