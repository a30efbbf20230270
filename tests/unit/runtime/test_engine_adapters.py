"""Base and adapters in one engine, chosen by the request; loaded and unloaded while others are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kaito_contract.reasons import Reason
from kaito_contract.sections import LoraConfig
from kaito_runtime.models.rendering import Form, Rendering
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import BASE, AdapterNotFoundError, Prompt
from kaito_runtime.serving.sampling import RequestRefusedError

from tests.harness.engine_client import SECONDS, EngineClient, soon
from tests.harness.lone_generate import LoneGenerate

pytestmark = pytest.mark.runtime

IDS = tuple(range(310, 350))
"""A prompt that is long enough to be remembered."""
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% endfor %}"
RENDERINGS = {"facts": Rendering(), "tone": Rendering(Form.CHAT, TEMPLATE)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.harness.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def base(weights: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def folders(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two adapters that change what the base answers."""
    import torch

    from kaito_runtime.models import adapters

    folder = tmp_path_factory.mktemp("adapters")
    for seed, (name, rendering) in enumerate(RENDERINGS.items()):
        torch.manual_seed(seed)
        tuned = adapters.add_adapter(base(weights), LoraConfig(r=4), checkpointing=False)
        for parameter in adapters.trainable_parameters(tuned):
            torch.nn.init.normal_(parameter, std=0.3)
        adapters.save_adapter(tuned, folder / name, str(weights), rendering)
    return {name: folder / name for name in RENDERINGS}


@pytest.fixture
def client(weights: Path, folders: Mapping[str, Path]) -> Iterator[EngineClient]:
    from transformers import AutoTokenizer

    from kaito_runtime.models.adapters import StackedAdapters, Verifier, provenance_of
    from kaito_runtime.serving.engines.transformers.engine import TransformersEngine

    model = base(weights)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    adapters = Verifier(StackedAdapters(model), provenance_of(weights, tokenizer), tokenizer)
    for name, folder in folders.items():
        adapters.add(name, folder, 1.0)
    client = EngineClient(TransformersEngine(model, tokenizer, adapters=adapters))
    yield client
    client.close()


def tokens_of(client: EngineClient, adapter: str | None, ids: tuple[int, ...] = IDS) -> list[int]:
    answer = client.ask(Prompt(ids=ids), adapter, max_tokens=10, logprobs=0, ignore_eos=True)
    return [each.id for delta in answer.deltas for each in delta.logprobs]


@pytest.fixture(scope="module")
def wanted(weights: Path, folders: Mapping[str, Path]) -> Mapping[str, list[int]]:
    """What generate() answers alone, with each adapter as peft has it and without."""
    reference = LoneGenerate(weights, folders)
    settings = {"max_new_tokens": 10, "eos_token_id": []}
    return {name: reference.ids(IDS, name or None, **settings) for name in (BASE, *folders)}


def test_each_request_is_answered_by_what_it_names(
    client: EngineClient, wanted: Mapping[str, list[int]]
) -> None:
    assert len({tuple(each) for each in wanted.values()}) == 3
    names = [BASE, "facts", "tone"] * 4
    pending = [
        client.submit(Prompt(ids=IDS), name, max_tokens=10, logprobs=0, ignore_eos=True)
        for name in names
    ]
    for name, future in zip(names, pending, strict=True):
        answer = future.result(SECONDS)
        assert [each.id for d in answer.deltas for each in d.logprobs] == wanted[name]


def test_what_was_computed_for_one_adapter_is_used_for_no_other(client: EngineClient) -> None:
    assert tokens_of(client, "facts") != tokens_of(client, BASE)
    again = client.ask(Prompt(ids=IDS), "facts", max_tokens=1)
    assert again.deltas[0].cached_tokens > 0
    assert client.ask(Prompt(ids=IDS), "tone", max_tokens=1).deltas[0].cached_tokens == 0


def test_what_was_computed_is_forgotten_with_the_adapter_of_a_name(
    client: EngineClient, folders: Mapping[str, Path]
) -> None:
    wanted = tokens_of(client, "tone")
    assert tokens_of(client, "facts") != wanted
    client.engine.unload_adapter("facts")
    client.engine.load_adapter("facts", folders["tone"], 1.0)
    assert tokens_of(client, "facts") == wanted


def test_without_a_name_all_adapters_answer_together(client: EngineClient) -> None:
    together = tokens_of(client, None)
    assert together not in [tokens_of(client, name) for name in (BASE, "facts", "tone")]
    client.engine.unload_adapter("tone")
    assert tokens_of(client, None) == tokens_of(client, "facts")


def test_a_beam_search_uses_the_adapter_of_its_request(
    client: EngineClient, wanted: Mapping[str, list[int]]
) -> None:
    beams: dict[str, Any] = {"search": {"num_beams": 2}, "max_tokens": 8, "streams": False}
    slow = {name: client.submit(Prompt(ids=IDS), name, **beams) for name in (BASE, "facts")}
    assert tokens_of(client, "tone") == wanted["tone"]
    assert len({future.result(SECONDS).text for future in slow.values()}) == 2


def test_an_adapter_comes_and_goes_while_others_are_answered(
    client: EngineClient, folders: Mapping[str, Path]
) -> None:
    first = tokens_of(client, "facts")
    running = client.submit(Prompt(ids=IDS), "facts", max_tokens=150, ignore_eos=True)
    soon(lambda: any("facts" in job.weights for job in client.engine._intake._jobs.values()))  # type: ignore[attr-defined]
    client.engine.unload_adapter("facts")  # returns once nobody uses it
    assert running.result(SECONDS).finish == "length"
    with pytest.raises(AdapterNotFoundError, match='"facts" not found; there are: "tone"'):
        client.ask("Where", "facts")
    info = client.engine.load_adapter("facts", folders["facts"], 1.0)
    assert (info.name, info.details["rank"]) == ("facts", 4)
    assert tokens_of(client, "facts") == first
    with pytest.raises(RequestRefusedError, match="is loaded already"):
        client.engine.load_adapter("facts", folders["facts"], 1.0)
    assert [each.name for each in client.engine.adapters()] == ["facts", "tone"]


def test_an_adapter_that_leaves_while_a_request_enters_is_not_found(
    client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = client.engine._intake  # type: ignore[attr-defined]
    enter = intake.enter

    def late(job: Any) -> None:
        client.engine._adapters._leaving.add("facts")  # type: ignore[attr-defined]
        enter(job)

    monkeypatch.setattr(intake, "enter", late)
    with pytest.raises(AdapterNotFoundError, match='"facts" not found'):
        client.ask("Where", "facts")


def test_an_adapter_that_can_not_be_served_leaves_the_others(
    client: EngineClient, tmp_path: Path
) -> None:
    with pytest.raises(Failure) as failed:
        client.engine.load_adapter("empty", tmp_path, 1.0)
    assert failed.value.reason is Reason.ADAPTER_INVALID
    assert tokens_of(client, "tone")


def test_messages_are_rendered_as_the_adapter_was_taught(client: EngineClient) -> None:
    assert client.engine.chat_template("tone") == TEMPLATE
    assert client.engine.chat_template("facts") == client.engine.chat_template(BASE) != TEMPLATE
