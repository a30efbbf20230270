"""What the contract of the engines does not ask of the slot pool: many rows that join and leave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaito_runtime.serving.engine import Prompt
from kaito_runtime.serving.sampling import JsonStructure, RequestRefusedError

from tests.harness.engine_client import SECONDS, EngineClient
from tests.harness.lone_generate import SETTINGS, LoneGenerate
from tests.harness.tiny_model import make_tiny_model

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def reference(weights: Path) -> LoneGenerate:
    return LoneGenerate(weights, {})


@pytest.fixture(scope="module")
def client(weights: Path) -> Iterator[EngineClient]:
    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import load
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    load.quiet()
    model = load.load_base(weights, load.choose_placement("float32"), QuantizationConfig())
    client = EngineClient(TransformersEngine(model, load.load_tokenizer(weights)))
    yield client
    client.close()


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_any_settings_answer_as_if_each_were_alone(
    reference: LoneGenerate, client: EngineClient, seed: int
) -> None:
    chance = random.Random(seed)
    asked = []
    for number in range(24):
        ours, theirs = chance.choice(SETTINGS)
        ids = reference.prompt(chance.choice((1, 2, 5, 30, 90)), chance.randrange(4))
        if number % 3:
            ids = reference.prompt(60) + ids  # a beginning that many share
        if theirs.get("max_length") and len(ids) > 30:
            continue
        asked.append((ids, ours, theirs))
    pending = [
        client.submit(Prompt(ids=ids), streams=False, **{"max_tokens": 12, "logprobs": 0, **ours})
        for ids, ours, _ in asked
    ]
    answers = [future.result(SECONDS).ids for future in pending]
    for (ids, _, theirs), answer in zip(asked, answers, strict=True):
        assert answer == reference.ids(ids, **theirs)


def test_a_row_that_joins_late_and_one_that_leaves_early_change_nobody(
    reference: LoneGenerate, client: EngineClient
) -> None:
    long, short = reference.prompt(40), reference.prompt(4)
    first = client.submit(Prompt(ids=long), max_tokens=100, logprobs=0)
    gone = client.submit(Prompt(ids=reference.prompt(20)), max_tokens=100)
    answer = client.ask(Prompt(ids=short), max_tokens=5, logprobs=0)
    gone.cancel()
    late = first.result(SECONDS)
    assert answer.ids == reference.ids(short, max_new_tokens=5)
    assert late.ids == reference.ids(long, max_new_tokens=100)


def test_beams_and_methods_without_a_neutral_name_run_beside_the_others(
    reference: LoneGenerate, client: EngineClient
) -> None:
    ids = reference.prompt(10)
    beams: dict[str, Any] = {"num_beams": 3, "no_repeat_ngram_size": 2}
    slow = client.submit(Prompt(ids=ids), max_tokens=40, search=beams, streams=False)
    quick = [
        client.submit(Prompt(ids=reference.prompt(n)), max_tokens=4, logprobs=0)
        for n in range(1, 9)
    ]
    found, answers = slow.result(SECONDS).text, [each.result(SECONDS).ids for each in quick]
    for n, answer in enumerate(answers, 1):
        assert answer == reference.ids(reference.prompt(n), max_new_tokens=4)
    decode = reference.tokenizer.decode
    made = decode(
        [*ids[-6:], *reference.ids(ids, max_new_tokens=40, **beams)], skip_special_tokens=True
    )
    assert found
    assert found == made[len(decode(ids[-6:], skip_special_tokens=True)) :]


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
