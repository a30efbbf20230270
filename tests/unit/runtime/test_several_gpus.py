"""One process with several GPUs: what lies where, and that nothing meets what lies elsewhere.

There is no GPU here: torch's fake tensors have devices and shapes, and no numbers.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)

from kaito_contract.reasons import Reason
from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models import gpus, load
from kaito_runtime.models.adapters.base import kind_of
from kaito_runtime.models.adapters.batch import Batch
from kaito_runtime.models.adapters.changes import Change
from kaito_runtime.models.adapters.stack import stack_of
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engines.budget import cache_budget
from kaito_runtime.serving.engines.transformers.cache import SlotPool
from kaito_runtime.serving.engines.transformers.engine import TransformersEngine
from kaito_runtime.serving.engines.transformers.forward import SlotModel
from kaito_runtime.tuning.encode import TokenizedExample
from kaito_runtime.tuning.packing import forward_pass

from tests.harness.engine_client import EngineClient
from tests.harness.tiny_model import make_tiny_model

GIB = 1 << 30
NONE, FOUR_BITS = QuantizationConfig(), QuantizationConfig(load_in_4bit=True)
EIGHT_BITS = QuantizationConfig(load_in_8bit=True)
BIG = {  # as their repositories on the hub have them
    "falcon-40b": FalconConfig(
        vocab_size=65024,
        hidden_size=8192,
        num_hidden_layers=60,
        num_attention_heads=128,
        num_kv_heads=8,
        new_decoder_architecture=True,
    ),
    "llama-2-70b": LlamaConfig(
        vocab_size=32000,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
    ),
    "phi-3-mini-128k": Phi3Config(),
}
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 64,
}
WIDE: dict[str, Any] = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2}
SHAPES = {
    "llama": LlamaConfig(**WIDE),
    "tied": LlamaConfig(**WIDE, tie_word_embeddings=True),
    "phi-3": Phi3Config(**WIDE, pad_token_id=0, sliding_window=8),
    "qwen-3": Qwen3Config(**WIDE, head_dim=8),
    "gemma-3": Gemma3TextConfig(
        **WIDE,
        head_dim=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"] * 2,
    ),
    "falcon": FalconConfig(**SMALL, multi_query=True),
}


@pytest.mark.parametrize(
    ("model", "quantization", "count", "each"),
    [
        ("falcon-40b", NONE, 2, 79),
        ("falcon-40b", FOUR_BITS, 2, 15),
        ("falcon-40b", EIGHT_BITS, 4, 15),
        ("llama-2-70b", NONE, 8, 40),
        ("llama-2-70b", FOUR_BITS, 4, 15),
        ("phi-3-mini-128k", NONE, 2, 15),
    ],
)
def test_the_weights_are_shared_out_evenly(
    tmp_path: Path, model: str, quantization: QuantizationConfig, count: int, each: int
) -> None:
    plan = planned(BIG[model], tmp_path, quantization, [each * GIB] * count)
    layers = {name: gpu for name, gpu in plan.items() if name.split(".")[-1].isdigit()}
    assert len(layers) == BIG[model].num_hidden_layers
    assert list(layers.values()) == sorted(layers.values()), "a layer goes back to an earlier GPU"
    per_gpu = Counter(layers.values())
    assert set(per_gpu) == set(range(count))
    assert max(per_gpu.values()) <= 1.4 * len(layers) / count


@pytest.mark.parametrize(("quantization", "each"), [(NONE, 40), (FOUR_BITS, 8)])
def test_gpus_that_are_too_small_together_are_refused_in_words(
    tmp_path: Path, quantization: QuantizationConfig, each: int
) -> None:
    with pytest.raises(Failure) as refused:
        planned(BIG["falcon-40b"], tmp_path, quantization, [each * GIB] * 2)
    assert refused.value.reason == Reason.OUT_OF_MEMORY
    assert f"2 GPUs ({each}.0, {each}.0 GiB are free)" in refused.value.message


def test_a_server_with_two_gpus_loads_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    BIG["phi-3-mini-128k"].save_pretrained(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _gpu: (79 * GIB, 80 * GIB))
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda _, **more: asked.update(more) or nn.Module()
    )
    placement = load.choose_placement("auto")
    assert "2 GPUs" in str(placement)
    for quantization in (NONE, FOUR_BITS):
        load.load_base(tmp_path, placement, quantization)
        assert set(asked["device_map"].values()) == {0, 1}


def test_the_gpu_with_the_least_room_for_its_layers_bounds_the_cache() -> None:
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    free = {first: 6 * GIB, second: 4 * GIB}
    assert cache_budget([first] * 4, free.__getitem__) == 6 * GIB
    assert cache_budget([first, first, second, second], free.__getitem__) == 8 * GIB
    assert cache_budget([first, first, first, second], free.__getitem__) == 8 * GIB


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - {"falcon"}))  # it makes indices of its own
def test_keys_and_values_lie_with_their_layers(fake: FakeTensorMode, shape: str) -> None:
    model = SlotModel(on_two_gpus(SHAPES[shape]))
    pool = SlotPool(model.layers, slots=4)
    none: list[Mapping[str, float]] = [{}, {}]
    model.scores(pool, [[1, 2, 3], [4, 5]], [0, 1], [0, 0], none)
    pool.resize(8, 128)
    pool.copy(0, 2, 3)
    pool.swap(0, 1, 3)
    pool.keep(1, 1, 2)
    pool.restore(1, 3, 2)
    scores = model.scores(pool, [[1], [2]], [2, 0], [3, 2], none)
    assert scores.shape == (2, 64)
    assert [each.index for each in pool.devices()] == [0, 0, 1, 1]


def test_the_terms_of_an_adapter_lie_with_their_layers(fake: FakeTensorMode) -> None:
    network = on_two_gpus(SHAPES["llama"])
    stacks = []
    for name, module in network.named_modules():
        kind = kind_of(module)
        if kind and not name.endswith("norm"):
            inputs, outputs = (
                (module.num_embeddings, module.embedding_dim)
                if isinstance(module, nn.Embedding)
                else (module.in_features, module.out_features)
            )
            stack = stack_of(module, kind, torch.float32)
            stack.put("tone", Change(torch.zeros(3, inputs), torch.zeros(3, outputs)))
            stacks.append(stack)
    assert len(stacks) == 4 * 7 + 2
    batch = Batch([{"tone": 1.0}, {}])
    for stack in stacks:
        stack.terms = stack.terms_of(batch)
    model = SlotModel(network)
    pool = SlotPool(model.layers, slots=2)
    assert model.scores(pool, [[1, 2], [3]], [0, 1], [0, 0], [{}, {}]).device.index == 0


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - {"gemma-3"}))
def test_a_pass_of_training_crosses_the_gpus(fake: FakeTensorMode, shape: str) -> None:
    network = on_two_gpus(SHAPES[shape]).train()
    rows = [TokenizedExample([1, 2, 3], [-100, 2, 3]), TokenizedExample([4, 5], [-100, 5])]
    (summed,) = forward_pass(network).losses(rows, 16)
    assert (summed.loss.device.index, summed.loss.requires_grad, summed.tokens) == (0, True, 3)


def test_answers_are_the_same_when_accelerate_moves_what_layers_get(tmp_path: Path) -> None:
    weights = make_tiny_model(tmp_path / "weights")
    prompts = [f"What is {n}?" for n in range(3)]
    tokenizer = load.load_tokenizer(weights)
    found = []
    for device_map in (
        None,
        {"model.layers.1": "disk", **dict.fromkeys(OTHERS, "cpu")},
    ):
        network = AutoModelForCausalLM.from_pretrained(
            weights, dtype=torch.float32, device_map=device_map, offload_folder=tmp_path / "disk"
        ).eval()
        client = EngineClient(TransformersEngine(network, tokenizer))
        asked = [client.submit(prompt, max_tokens=12) for prompt in prompts]
        found.append([each.result(20).text for each in asked])
        client.close()
    assert found[0] == found[1]
    assert gpus.is_spread(network)


OTHERS = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode() as mode:
        yield mode


def planned(
    config: PreTrainedConfig, folder: Path, quantization: QuantizationConfig, free: list[int]
) -> dict[str, int]:
    architecture = {"falcon": "Falcon", "llama": "Llama", "phi3": "Phi3"}[config.model_type]
    config.architectures = [f"{architecture}ForCausalLM"]
    config.save_pretrained(folder)
    return gpus.layers_by_gpu(folder, torch.bfloat16, quantization, free)


def on_two_gpus(config: PreTrainedConfig) -> Any:
    """Return a model of which the first layers lie on one fake GPU, and the others on a second.

    As accelerate dispatches it, which does not work on fake tensors.
    """
    model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    trunk = next(each for each in model.children() if isinstance(each, nn.Module))
    layers = next(each for each in trunk.children() if isinstance(each, nn.ModuleList))
    is_tied = config.tie_word_embeddings
    places: list[tuple[nn.Module, int]] = [(layer, n // 2) for n, layer in enumerate(layers)]
    for part in trunk.children():
        if part is not layers:
            places.append((part, int(type(part).__name__.endswith("Norm"))))
    places.append((model.lm_head, 0 if is_tied else 1))
    for part, gpu in places:
        for module in part.modules():
            _move(module, torch.device("cuda", gpu))
        hook = AlignDevicesHook(
            execution_device=gpu,
            place_submodules=False,
            skip_keys=model._skip_keys_device_placement,
        )
        add_hook_to_module(part, hook)
    if is_tied:
        model.tie_weights()
    add_hook_to_module(
        model,
        AlignDevicesHook(
            io_same_device=True,
            place_submodules=False,
            skip_keys=model._skip_keys_device_placement,
        ),
        append=True,
    )
    model.hf_device_map = {"model.layers.0": 0, "model.layers.3": 1}
    return model.eval()


def _move(module: nn.Module, device: torch.device) -> None:
    for name, tensor in itertools.chain(
        module.named_parameters(recurse=False), module.named_buffers(recurse=False)
    ):
        moved = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        if isinstance(tensor, nn.Parameter):
            module._parameters[name] = nn.Parameter(moved)
        else:
            module._buffers[name] = moved
