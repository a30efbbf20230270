"""Rows of one batch use different adapters, and none sees what another uses."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kaito_runtime.models.adapters.stacked import StackedAdapters

from tests.harness import peft_oracle
from tests.harness.peft_kinds import PHI3
from tests.harness.peft_oracle import logits

MIX: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": PHI3},
    "dora": {"target_modules": ["qkv_proj", "lm_head"], "use_dora": True, "r": 2},
    "saved": {"target_modules": ["down_proj"], "modules_to_save": ["embed_tokens", "norm"]},
    "tokens": {"target_modules": ["o_proj"], "trainable_token_indices": [3, 5], "r": 6},
}
TOKENS = 6

Row = dict[str, float]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("mix")
    for seed, (name, config) in enumerate(MIX.items()):
        peft_oracle.train(peft_oracle.make_base("phi3"), folder / name, seed=seed, **config)
    return {name: folder / name for name in MIX}


@pytest.fixture
def base() -> Any:
    return peft_oracle.make_base("phi3")


@pytest.fixture(scope="module")
def all_loaded(folders: dict[str, Path]) -> tuple[Any, StackedAdapters]:
    base = peft_oracle.make_base("phi3")
    adapters = StackedAdapters(base)
    for name, folder in folders.items():
        adapters.add(name, folder)
    return base, adapters


def prompts(rows: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randint(3, peft_oracle.VOCABULARY, (rows, TOKENS), generator=source)


def answered(base: Any, adapters: StackedAdapters, rows: list[Row], ids: torch.Tensor) -> Any:
    with adapters.rows(rows):
        return logits(base, ids)


factors = st.sampled_from([0.0, 0.25, 1.0, -1.0]) | st.floats(-2, 2, width=32)
rows_of_a_batch = st.lists(
    st.dictionaries(st.sampled_from(list(MIX)), factors, max_size=4), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_a_batch, seed=st.integers(0, 5))
def test_a_row_is_answered_as_if_it_were_alone(
    all_loaded: tuple[Any, StackedAdapters], rows: list[Row], seed: int
) -> None:
    base, adapters = all_loaded
    ids = prompts(len(rows), seed)
    together = answered(base, adapters, rows, ids)
    for number, row in enumerate(rows):
        alone = answered(base, adapters, [row], ids[number : number + 1])
        torch.testing.assert_close(together[number], alone[0], rtol=1e-4, atol=1e-4)


class CountedOperations(TorchDispatchMode):
    """Counts what torch computes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(base: Any, using: Any) -> int:
    counted = CountedOperations()
    with using, counted:
        logits(base, prompts(3))
    return counted.count


def test_rows_of_the_base_alone_compute_nothing_more(base: Any, folders: dict[str, Path]) -> None:
    bare = operations(base, nullcontext())
    adapters = StackedAdapters(base)
    adapters.add("lora", folders["lora"])
    assert operations(base, adapters.rows([{}, {"lora": 0.0}, {}])) == bare
    assert operations(base, nullcontext()) == bare
    assert operations(base, adapters.rows([{}, {"lora": 1.0}, {}])) > bare


def test_a_layer_that_no_row_changes_computes_nothing_more(
    base: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    peft_oracle.train(peft_oracle.make_base("phi3"), tmp_path, target_modules=["o_proj"])
    adapters = StackedAdapters(base)
    adapters.add("small", tmp_path)
    rows: list[Row] = [{}, {"small": 1.0}, {}]
    operations(base, adapters.rows(rows))
    alone = operations(base, adapters.rows(rows))  # prepared by the first
    adapters.add("lora", folders["lora"])
    operations(base, adapters.rows(rows))
    assert operations(base, adapters.rows(rows)) == alone


def test_the_same_rows_are_prepared_once(base: Any, folders: dict[str, Path]) -> None:
    adapters = StackedAdapters(base)
    adapters.add("lora", folders["lora"])
    with CountedOperations() as first, adapters.rows([{"lora": 1.0}, {}]):
        pass
    with CountedOperations() as again, adapters.rows([{"lora": 1.0}, {}]):
        pass
    assert (first.count > 0, again.count) == (True, 0)


def test_a_compiled_layer_is_not_compiled_again_for_other_rows(
    linear_model: Any, tmp_path: Path
) -> None:
    adapters = StackedAdapters(linear_model)
    for seed, name in enumerate("abc"):
        peft_oracle.train_layer(linear_model, tmp_path / name, seed)
        adapters.add(name, tmp_path / name)
    graphs: list[Any] = []

    def keep(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled: Any = torch.compile(linear_model, backend=keep, fullgraph=True)
    inputs = torch.randn(3, 5, 8)
    counts = []
    mixes: list[list[Row]] = [
        [{}, {}, {}], [{}, {"a": 1.0}, {"c": 1.0}], [{"c": 0.5}, {"b": 1.0}, {"a": 1.0}],
        [{"a": 2.0, "b": 1.0, "c": -1.0}] * 3, [{}, {}, {}],
    ]  # fmt: skip
    for rows in mixes:
        with torch.inference_mode(), adapters.rows(rows):
            torch.testing.assert_close(compiled(inputs), linear_model(inputs))
        counts.append(len(graphs))
    assert counts == [1, 2, 2, 2, 2]


def test_a_mapping_that_changes_later_changes_no_batch(
    all_loaded: tuple[Any, StackedAdapters],
) -> None:
    base, adapters = all_loaded
    row: Row = {"lora": 1.0}
    before = answered(base, adapters, [row], prompts(1))
    row["lora"] = 0.5
    assert not torch.allclose(answered(base, adapters, [row], prompts(1)), before, atol=1e-2)
    torch.testing.assert_close(answered(base, adapters, [{"lora": 1.0}], prompts(1)), before)


def test_rows_that_were_prepared_in_inference_mode_serve_outside_of_it(
    base: Any, folders: dict[str, Path]
) -> None:
    adapters = StackedAdapters(base)
    with torch.inference_mode():
        adapters.add("dora", folders["dora"])
        with adapters.rows([{"dora": 1.0}]):
            wanted = base(input_ids=prompts(1)).logits
    with adapters.rows([{"dora": 1.0}]):
        found = base(input_ids=prompts(1)).logits
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), wanted.clone())


def test_rows_inside_rows_end_with_them(all_loaded: tuple[Any, StackedAdapters]) -> None:
    base, adapters = all_loaded
    wanted = answered(base, adapters, [{"dora": 1.0}], prompts(1))
    with adapters.rows([{"dora": 1.0}]):
        with adapters.rows([{}]):
            logits(base, prompts(1))
        torch.testing.assert_close(logits(base, prompts(1)), wanted)


@pytest.mark.parametrize("gone", list(MIX))
def test_an_adapter_that_is_removed_takes_nothing_with_it(
    gone: str, base: Any, folders: dict[str, Path]
) -> None:
    adapters = StackedAdapters(base)
    for name, folder in folders.items():
        adapters.add(name, folder)
    rows: list[Row] = [{name: 1.0} for name in MIX if name != gone]
    before = answered(base, adapters, rows, prompts(len(rows)))
    adapters.remove(gone)
    assert gone not in adapters.names
    torch.testing.assert_close(answered(base, adapters, rows, prompts(len(rows))), before)
    with pytest.raises(KeyError, match=gone):
        answered(base, adapters, [{gone: 1.0}], prompts(1))
    adapters.add(gone, folders[gone])
    torch.testing.assert_close(answered(base, adapters, rows, prompts(len(rows))), before)


def test_the_base_is_as_before_when_all_are_removed(base: Any, folders: dict[str, Path]) -> None:
    weights = {name: value.clone() for name, value in base.state_dict().items()}
    bare = logits(base, prompts(2))
    adapters = StackedAdapters(base)
    for name, folder in folders.items():
        adapters.add(name, folder)
    answered(base, adapters, [dict.fromkeys(MIX, 1.0), {}], prompts(2))
    for name in MIX:
        adapters.remove(name)
    assert torch.equal(logits(base, prompts(2)), bare)
    assert base.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in base.state_dict().items())
    assert not any(module._forward_hooks for module in base.modules())


def test_half_an_adapter_is_none(
    base: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kaito_runtime.models.adapters.stack import Stack

    adapters = StackedAdapters(base)
    adapters.add("dora", folders["dora"])
    before = answered(base, adapters, [{"dora": 1.0}], prompts(1))
    put, calls = Stack.put, iter(range(3))

    def put_three(*arguments: Any) -> None:
        if next(calls, None) is None:
            raise torch.OutOfMemoryError
        put(*arguments)

    monkeypatch.setattr(Stack, "put", put_three)
    with pytest.raises(torch.OutOfMemoryError):
        adapters.add("lora", folders["lora"])
    monkeypatch.undo()
    assert adapters.names == ("dora",)
    torch.testing.assert_close(answered(base, adapters, [{"dora": 1.0}], prompts(1)), before)
    adapters.add("lora", folders["lora"])


def test_what_is_served_without_a_choice_is_the_sum_of_all(
    base: Any, folders: dict[str, Path]
) -> None:
    adapters = StackedAdapters(base)
    assert adapters.default_weights() == {}
    adapters.add("lora", folders["lora"], 0.5)
    adapters.add("dora", folders["dora"], -2.0)
    assert adapters.default_weights() == {"lora": 0.5, "dora": -2.0}


def test_an_adapter_says_what_it_is(base: Any, folders: dict[str, Path]) -> None:
    adapters = StackedAdapters(base)
    found = {name: adapters.add(name, folder) for name, folder in folders.items()}
    assert found["lora"].kinds == ("lora",)
    assert found["dora"].kinds == ("dora",)
    assert found["saved"].kinds == ("lora", "weights")
    assert found["tokens"].kinds == ("lora", "tokens")
    assert (found["lora"].rank, found["dora"].rank) == (4, 2)
    assert found["lora"].layers == 8
    assert adapters.layers("dora") == [
        "model.layers.0.self_attn.qkv_proj", "model.layers.1.self_attn.qkv_proj", "lm_head",
    ]  # fmt: skip
    # Two matrices of each layer, float32.
    per_layer = sum(4 * (i + o) for i, o in ((32, 64), (32, 32), (32, 96), (48, 32)))
    assert found["lora"].bytes == 2 * per_layer * 4
    assert not found["lora"].is_zero


@pytest.fixture
def linear_model() -> Any:
    class Lone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(8, 4)
            self.dtype = torch.float32

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.layer(inputs)
            return made

    return Lone()


def test_rows_that_lie_flat_are_told_apart(linear_model: Any, tmp_path: Path) -> None:
    peft_oracle.train_layer(linear_model, tmp_path, 1)
    adapters = StackedAdapters(linear_model)
    adapters.add("it", tmp_path)
    inputs = torch.randn(3, 5, 8)
    with torch.inference_mode(), adapters.rows([{}, {"it": 1.0}, {"it": -1.0}]):
        by_row = linear_model(inputs)
        flat = linear_model(inputs.reshape(15, 8))
        with pytest.raises(RuntimeError, match="7 rows in a batch of 3"):
            linear_model(torch.randn(7, 8))
    torch.testing.assert_close(flat.reshape(3, 5, 4), by_row)
    assert not torch.allclose(by_row[1], by_row[2])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_row_that_is_no_number_breaks_no_other(
    linear_model: Any, tmp_path: Path, value: float
) -> None:
    peft_oracle.train_layer(linear_model, tmp_path, 1)
    adapters = StackedAdapters(linear_model)
    adapters.add("it", tmp_path)
    inputs = torch.randn(3, 5, 8)
    inputs[1] = value
    with torch.inference_mode(), adapters.rows([{"it": 1.0}, {"it": 1.0}, {}]):
        made = linear_model(inputs)
    assert made[[0, 2]].isfinite().all()
    torch.testing.assert_close(made[2], torch.nn.functional.linear(
        inputs[2], linear_model.layer.weight, linear_model.layer.bias
    ))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_is_the_trained_one_but_for_rounding(
    dtype: torch.dtype, folders: dict[str, Path]
) -> None:
    exact, rounded = peft_oracle.make_base("phi3"), peft_oracle.make_base("phi3").to(dtype)
    rows: list[Row] = [{}, *({name: 1.0} for name in MIX), dict.fromkeys(MIX, 0.5)]
    found: list[torch.Tensor] = []
    wanted: list[torch.Tensor] = []
    for base, into in ((exact, wanted), (rounded, found)):
        adapters = StackedAdapters(base)
        for name, folder in folders.items():
            adapters.add(name, folder)
        into.append(answered(base, adapters, rows, prompts(len(rows))).float())
    errors = (found[0] - wanted[0]).abs().amax((1, 2))
    assert float(errors[1:].max()) < 4 * float(errors[0])
