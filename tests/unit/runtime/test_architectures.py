"""Models of many kinds: in slots where their cache is plain, otherwise one request after the other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kaito_runtime.serving.engine import Prompt, PromptTooLongError

from tests.harness.engine_client import SECONDS, EngineClient, soon

pytestmark = pytest.mark.runtime

VOCABULARY = 600
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.2,
}  # fmt: skip
MIXED = ["sliding_attention", "full_attention"] * 2
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10_000.0, "original_max_position_embeddings": 32,
    "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
}  # fmt: skip
SLOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "one key for all heads": ("Llama", {"num_key_value_heads": 1}),
    "sliding": ("Mistral", {"sliding_window": 8}),
    "sliding and full": ("Gemma3", {"sliding_window": 8, "head_dim": 16, "layer_types": MIXED}),
    "qwen 3": ("Qwen3", {"head_dim": 16}),
    "phi 2": ("Phi", {}),
    "phi 3": ("Phi3", {"sliding_window": 12}),
    "falcon": ("Falcon", {"new_decoder_architecture": False, "multi_query": True, "ffn_hidden_size": 96}),
    "positions that are learnt": ("GPT2", {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 256}),
    "experts": ("Mixtral", {"num_local_experts": 4, "sliding_window": None}),
}  # fmt: skip
ONE_BY_ONE: dict[str, tuple[str, dict[str, Any]]] = {
    "states": ("Mamba", {"state_size": 8}),
    "convolutions": ("Lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
}


def made(kind: str, more: dict[str, Any]) -> Any:
    import torch
    import transformers

    names = {
        "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
        "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
    }
    config, model = names.get(kind, (f"{kind}Config", f"{kind}ForCausalLM"))
    torch.manual_seed(1)
    return getattr(transformers, model)(getattr(transformers, config)(**{**SIZES, **more})).eval()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    from tests.harness.tiny_model import make_tiny_model

    return AutoTokenizer.from_pretrained(make_tiny_model(tmp_path_factory.mktemp("tiny")))


@contextmanager
def serving(model: Any, tokenizer: Any, **limits: Any) -> Iterator[tuple[EngineClient, Any]]:
    from kaito_runtime.serving.engines.transformers.engine import EngineLimits, TransformersEngine

    engine = TransformersEngine(model, tokenizer, limits=EngineLimits(**limits))
    client = EngineClient(engine)
    try:
        yield client, engine
    finally:
        client.close()


def prompts(count: int, most: int = 60) -> list[tuple[int, ...]]:
    chance = random.Random(5)
    return [
        tuple(chance.randrange(10, VOCABULARY) for _ in range(chance.randint(1, most)))
        for _ in range(count)
    ]


def lone(model: Any, ids: tuple[int, ...], tokens: int) -> list[int]:
    import torch

    inputs = torch.tensor([ids])
    with torch.inference_mode():
        answer = model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    found: list[int] = answer[0, len(ids) :].tolist()
    return found


def answers(client: EngineClient, asked: list[tuple[int, ...]], tokens: int) -> list[list[int]]:
    pending = [
        client.submit(Prompt(ids=ids), max_tokens=tokens, logprobs=0, ignore_eos=True)
        for ids in asked
    ]
    found = [future.result(SECONDS) for future in pending]
    return [[each.id for d in answer.deltas for each in d.logprobs] for answer in found]


@pytest.mark.parametrize("name", SLOTS)
def test_a_model_with_a_plain_cache_is_computed_in_slots(name: str, tokenizer: Any) -> None:
    model = made(*SLOTS[name])
    asked = prompts(9)
    with serving(model, tokenizer) as (client, engine):
        assert engine.model().details["batching"] == "slots"
        found = answers(client, asked, 20)
    assert found == [lone(model, ids, 20) for ids in asked]


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.filterwarnings("ignore")
def test_a_model_with_another_cache_answers_one_request_after_the_other(
    name: str, tokenizer: Any
) -> None:
    model = made(*ONE_BY_ONE[name])
    asked = prompts(4)
    with serving(model, tokenizer) as (client, engine):
        assert engine.model().details["batching"] == "one after the other"
        pending = [
            client.submit(Prompt(ids=ids), max_tokens=8, ignore_eos=True, streams=False)
            for ids in asked
        ]
        found = [future.result(SECONDS).text for future in pending]
    for ids, text in zip(asked, found, strict=True):
        wanted = tokenizer.decode([*ids[-6:], *lone(model, ids, 8)], skip_special_tokens=True)
        assert text
        assert wanted.endswith(text)


def test_a_long_sequence_does_not_change_the_positions_of_others(tokenizer: Any) -> None:
    model = made("Phi3", {"sliding_window": None, "rope_parameters": LONGROPE})
    asked = prompts(8, most=20)
    with serving(model, tokenizer) as (client, _):
        long = client.submit(Prompt(ids=prompts(1)[0] * 3), max_tokens=60, ignore_eos=True)
        found = answers(client, asked, 8)
        assert long.result(SECONDS).finish == "length"
    assert found == [lone(model, ids, 8) for ids in asked]


def test_prompts_in_chunks_are_computed_as_whole_ones(tokenizer: Any) -> None:
    model = made("Llama", {})
    asked = prompts(10, most=150)
    with serving(model, tokenizer) as (client, engine):
        engine._scheduler._prefill_tokens = 16
        found = answers(client, asked, 10)
    assert found == [lone(model, ids, 10) for ids in asked]


def test_rows_that_there_is_no_memory_for_wait_and_are_computed_again(tokenizer: Any) -> None:
    model = made("Llama", {})
    asked = prompts(12)
    each = 4 * 2 * 2 * 16 * 4  # bytes of a position: layers, keys and values, heads, size, float32
    with serving(model, tokenizer, cache_bytes=8 * 64 * each) as (client, engine):
        found = answers(client, asked, 40)
        assert engine.load().preemptions > 0
        assert (
            engine._scheduler._slots.pool.slots * engine._scheduler._slots.pool.capacity <= 7 * 64
        )
    assert found == [lone(model, ids, 40) for ids in asked]


def test_a_prompt_beyond_the_memory_is_refused_and_an_answer_ends_with_it(tokenizer: Any) -> None:
    each = 4 * 2 * 2 * 16 * 4
    with serving(made("Llama", {}), tokenizer, cache_bytes=80 * each) as (client, _):
        with pytest.raises(PromptTooLongError, match="context is 70"):
            client.ask(Prompt(ids=(5,) * 100))
        answer = client.ask(Prompt(ids=(5,) * 30), max_tokens=100, ignore_eos=True)
        assert (answer.finish, sum(d.new_tokens for d in answer.deltas)) == ("length", 40)
        soon(lambda: client.engine.load().running == 0)
