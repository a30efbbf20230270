"""Training, from rows to an adapter that does what it was taught."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never

import pytest

from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig, TrainingArguments
from kaito_runtime import tune
from kaito_runtime.demo import text
from kaito_runtime.pod.termination import Stopped
from kaito_runtime.tuning import loop
from kaito_runtime.tuning.config import parse_config
from kaito_runtime.tuning.encode import NO_LABEL, Encoder, TokenizedExample, batches
from kaito_runtime.tuning.examples import Example

from tests.unit.runtime.conftest import FailureOf

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.runtime

Tune = Callable[..., Mapping[str, Any]]

SETTINGS = """\
training_config:
  ModelConfig: {{torch_dtype: float32}}
  QuantizationConfig: {{{quantization}}}
  LoraConfig: {{r: 4, lora_alpha: 8}}
  TrainingArguments: {{max_steps: {steps}, per_device_train_batch_size: 8, learning_rate: {rate}}}
  DatasetConfig: {{train_test_split: {split}}}
"""
NF4 = "load_in_4bit: true, bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true"


@pytest.fixture
def run(weights: Path, tmp_path: Path) -> Tune:
    """Run the trainer as the pod does and return its report."""
    (tmp_path / "data").mkdir()

    def call(
        quantization: str = "",
        steps: int = 30,
        rate: float = 2e-2,
        split: float = 1,
        rows: list[dict[str, Any]] | None = None,
        output: str = "out",
        base: Path = weights,
    ) -> Mapping[str, Any]:
        settings = SETTINGS.format(quantization=quantization, steps=steps, rate=rate, split=split)
        (tmp_path / "c.yaml").write_text(settings)
        rows = text.lesson("zorbi", 1, rows=40, taught=40) if rows is None else rows
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "data/rows.jsonl").write_text(lines)
        return tune.main(
            ["--config", str(tmp_path / "c.yaml"), "--weights", str(base), "--metrics-port", "0"]
            + ["--data", str(tmp_path / "data"), "--output", str(tmp_path / output)]
        )

    return call


@pytest.fixture(scope="module")
def tokenizer(weights: Path) -> Any:
    from kaito_runtime.models.load import load_tokenizer

    return load_tokenizer(weights)


def test_training_lowers_the_loss_and_leaves_the_adapter(
    run: Tune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run(split=0.9)
    assert report["lastLoss"] < 0.6 * report["firstLoss"]
    assert report["steps"] == 30
    assert report["quantization"] == "none"
    assert report["quantizedModules"] == 0
    assert report["evalLoss"] > 0
    names = sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))
    assert names == ["adapter_config.json", "adapter_model.safetensors", "kaito_rendering.json"]
    assert "step 30/30 (100 %) loss" in capsys.readouterr().out


def test_qlora_trains_beside_four_bit_modules(run: Tune) -> None:
    report = run(quantization=NF4)
    assert report["quantization"] == "nf4"
    assert report["quantizedModules"] == 8  # four linear layers in each of two blocks
    assert report["lastLoss"] < report["firstLoss"]


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_what_was_tuned_is_proven_where_it_is_served(
    run: Tune, weights: Path, tmp_path: Path, tokenizer: Any, quantization: str
) -> None:
    from kaito_contract.sections import QuantizationConfig
    from kaito_runtime.models import adapters, load

    run(steps=3, quantization=NF4 if quantization == "nf4" else "")
    placement = load.choose_placement("float32")
    quantized = QuantizationConfig(load_in_4bit=quantization == "nf4", bnb_4bit_quant_type="nf4")
    base = load.load_base(weights, placement, quantized)
    verifier = adapters.Verifier(
        adapters.StackedAdapters(base), adapters.provenance_of(weights, tokenizer), tokenizer
    )
    _, found = verifier.add("tuned", tmp_path / "out")
    assert (str(found.base), str(found.tokenizer), str(found.template)) == ("matches",) * 3
    assert found.largest_difference > 0


def test_the_same_seed_gives_the_same_adapter(run: Tune, tmp_path: Path) -> None:
    run(steps=3, output="one")
    run(steps=3, output="two")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_absurd_learning_rate_is_loss_not_finite(run: Tune, failure_of: FailureOf) -> None:
    failure = failure_of(run, rate=1e38, steps=20)
    assert failure.reason is Reason.LOSS_NOT_FINITE
    assert "learning_rate" in failure.message


@pytest.mark.parametrize("damage", ["absent", "config", "tensors"])
def test_weights_that_are_no_model_are_invalid(
    run: Tune, weights: Path, tmp_path: Path, failure_of: FailureOf, damage: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for path in weights.iterdir() if damage != "absent" else []:
        (base / path.name).write_bytes(path.read_bytes())
    if damage == "config":
        (base / "config.json").write_text("{")
    if damage == "tensors":
        whole = (base / "model.safetensors").read_bytes()
        (base / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    failure = failure_of(run, base=base)
    assert failure.reason is Reason.WEIGHTS_INVALID


@pytest.mark.parametrize(
    ("rows", "reason"),
    [([], Reason.DATA_EMPTY), ([{"q": 1}], Reason.DATA_COLUMNS_INVALID)],
)
def test_data_is_judged_before_the_model_is_loaded(
    run: Tune, failure_of: FailureOf, rows: list[dict[str, Any]], reason: Reason, tmp_path: Path
) -> None:
    assert failure_of(run, rows=rows, base=tmp_path / "absent").reason is reason


def test_a_layer_that_does_not_exist_is_named_with_those_that_do(
    weights: Path, failure_of: FailureOf
) -> None:
    from kaito_runtime.models import adapters, load

    base = load.load_base(
        weights, load.choose_placement("float32"), parse_config("training_config: {}").quantization
    )
    config = parse_config("training_config: {LoraConfig: {target_modules: [nothing]}}")
    failure = failure_of(adapters.add_adapter, base, config.lora, checkpointing=False)
    assert failure.reason is Reason.CONFIG_INVALID
    assert "qkv_proj" in failure.message


def test_exhausted_memory_is_out_of_memory(
    run: Tune, monkeypatch: pytest.MonkeyPatch, failure_of: FailureOf
) -> None:
    import torch

    from kaito_runtime.tuning.packing import PaddingFreeForward

    def ask_for_too_much(*_: object) -> Iterator[torch.Tensor]:
        yield torch.empty(1 << 58)  # torch's own allocator says no

    monkeypatch.setattr(PaddingFreeForward, "losses", ask_for_too_much)
    failure = failure_of(run)
    assert failure.reason is Reason.OUT_OF_MEMORY
    assert "larger instance type" in failure.message


@pytest.mark.parametrize("place", ["step", "saving"])
def test_a_lost_device_is_device_lost_and_no_fault_of_the_runtime(
    run: Tune, monkeypatch: pytest.MonkeyPatch, failure_of: FailureOf, place: str
) -> None:
    from kaito_runtime.models import adapters

    def lose(*_: object) -> Never:
        raise RuntimeError("CUDA error: device-side assert triggered")

    if place == "step":
        monkeypatch.setattr(loop, "step", lose)
    else:
        monkeypatch.setattr(adapters, "save_adapter", lose)
    failure = failure_of(run, steps=1)
    assert failure.reason is Reason.DEVICE_LOST
    assert "device-side assert triggered" in failure.message


def test_sigterm_is_training_failed_and_saves_nothing(
    run: Tune, monkeypatch: pytest.MonkeyPatch, failure_of: FailureOf, tmp_path: Path
) -> None:
    steps = iter(range(3))
    one_step = loop.step

    def stop_after_three(*arguments: Any) -> float:
        if next(steps, None) is None:
            raise Stopped  # what the signal handler raises in the main thread
        return one_step(*arguments)

    monkeypatch.setattr(loop, "step", stop_after_three)
    assert failure_of(run).reason is Reason.TRAINING_FAILED
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def network(weights: Path) -> Any:
    from kaito_runtime.models import load

    quantization = parse_config("training_config: {}").quantization
    return load.load_base(weights, load.choose_placement("float32"), quantization)


def tokenized(count: int) -> list[TokenizedExample]:
    source = random.Random(3)
    found = []
    for _ in range(count):
        ids = [source.randrange(10, 500) for _ in range(source.randrange(3, 30))]
        found.append(TokenizedExample(ids, [NO_LABEL, *ids[1:]]))
    return found


def test_rows_of_one_pass_do_not_see_each_other(network: Any) -> None:
    import torch

    from kaito_runtime.tuning.packing import PaddedForward, PaddingFreeForward, forward_pass

    rows = tokenized(9)
    with torch.no_grad():
        network.set_attn_implementation("sdpa")
        padded = sum(each.loss for each in PaddedForward(network).losses(rows, 100))
        network.set_attn_implementation("sdpa")
        alone = sum(next(iter(PaddedForward(network).losses([row], 100))).loss for row in rows)
        forward = forward_pass(network)
        assert isinstance(forward, PaddingFreeForward)
        together = list(forward.losses(rows, 10_000))
    assert len(together) == 1
    assert together[0].tokens == sum(len(row) - 1 for row in rows)
    torch.testing.assert_close(together[0].loss, alone, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-4)


def test_changing_one_row_leaves_the_logits_of_the_others(network: Any) -> None:
    import torch

    from kaito_runtime.tuning.packing import forward_pass

    forward_pass(network)

    def logits(first: int) -> torch.Tensor:
        on = network.device
        ids = torch.tensor([[first, 11, 12, 13, 20, 21, 22]], device=on)
        positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2]], device=on)
        with torch.no_grad():
            found: torch.Tensor = network(
                input_ids=ids, position_ids=positions, use_cache=False, sequence_lengths=[4, 3]
            ).logits[0]
            return found

    one, other = logits(50), logits(99)
    assert torch.equal(one[4:], other[4:])
    assert not torch.equal(one[:4], other[:4])


def test_a_sliding_window_cuts_as_the_library_cuts_it() -> None:
    import torch

    from kaito_runtime.tuning.packing import padding_free_attention

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 12, 8) for heads in (4, 2, 2))
    made, _ = padding_free_attention(
        None, query, key, value, None, sliding_window=3, sequence_lengths=[12]
    )
    index = torch.arange(12)
    distance = index[:, None] - index[None]
    mask = (distance >= 0) & (distance < 3)  # transformers.masking_utils.sliding_window_overlay
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=mask
    )
    torch.testing.assert_close(made, wanted.transpose(1, 2))


def test_assistant_only_loss_labels_what_the_assistant_says(tokenizer: Any) -> None:
    messages = (*text.messages("Where?", "Here."), *text.messages("When?", "Now."))
    training = TrainingArguments(assistant_only_loss=True)
    row = Encoder(tokenizer, training).tokenize(Example(messages=messages))
    learnt = tokenizer.decode([label for label in row.labels if label != NO_LABEL])
    assert "Here.<|end|>" in learnt
    assert "Now.<|end|>" in learnt
    assert "Where" not in learnt
    assert "When" not in learnt


def test_full_loss_labels_all_but_the_first_token(tokenizer: Any) -> None:
    example = Example(messages=tuple(text.messages("Where?", "Here.")))
    row = Encoder(tokenizer, TrainingArguments()).tokenize(example)
    assert row.labels == [NO_LABEL, *row.ids[1:]]
    assert row.ids[-1] == tokenizer.eos_token_id


def test_of_a_prompt_and_its_completion_the_completion_is_learnt(tokenizer: Any) -> None:
    example = Example(prompt="Where does the otter live? ", completion="In the river.")
    row = Encoder(tokenizer, TrainingArguments()).tokenize(example)
    learnt = tokenizer.decode([label for label in row.labels if label != NO_LABEL])
    assert learnt.strip() == "In the river.<|endoftext|>"


def test_a_tokenizer_without_a_chat_template_gets_one(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from kaito_runtime.models.load import load_tokenizer

    for path in weights.iterdir():
        if "template" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(Path(tmp_path))
    assert "no chat template" in caplog.text
    written = tokenizer.apply_chat_template(text.messages("Where?", "Here."), tokenize=False)
    assert written == "User: Where?\nAssistant: Here.\n"


@pytest.mark.parametrize("packing", [False, True])
def test_an_epoch_has_every_row_once(packing: bool) -> None:
    training = TrainingArguments(
        per_device_train_batch_size=2, gradient_accumulation_steps=2, packing=packing, max_length=50
    )
    lengths = [random.Random(n).randrange(1, 80) for n in range(37)]
    steps = batches(lengths, training, random.Random(1))
    assert sorted(row for rows in steps for row in rows) == list(range(37))
    if packing:
        assert len(steps) < 37 / 4 * 2


@pytest.mark.parametrize(("kind", "values"), [
    ("linear", [1.0, 0.75, 0.5, 0.25]), ("cosine", [1.0, 0.8536, 0.5, 0.1464]),
    ("constant", [1.0, 1.0, 1.0, 1.0]),
])  # fmt: skip
def test_the_learning_rate_falls_as_its_name_says(
    kind: Literal["linear", "cosine", "constant"], values: list[float]
) -> None:
    import torch

    settings = TrainingArguments(learning_rate=1.0, lr_scheduler_type=kind)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = loop.scheduler(optimizer, 4, settings), []
    for _ in range(4):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(values, abs=1e-4)


def test_rows_held_out_are_not_trained_on() -> None:
    rows = tokenized(10)
    kept, held_out = loop.split(rows, DatasetConfig(train_test_split=0.8))
    assert (len(kept), len(held_out)) == (8, 2)
    assert not {id(row) for row in kept} & {id(row) for row in held_out}
