"""An adapter is proven when it is loaded: on what it was tuned on, and in effect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import linear

from kaito_contract.reasons import Reason
from kaito_contract.sections import LoraConfig, QuantizationConfig
from kaito_runtime.models import adapters, load
from kaito_runtime.models.adapters import Provenance, StackedAdapters, Verifier
from kaito_runtime.models.adapters.provenance import digest_of_weights, provenance_of
from kaito_runtime.models.rendering import Form, Rendering
from kaito_runtime.models.verification import Match, Verification

from tests.harness import peft_oracle
from tests.unit.runtime.conftest import FailureOf


def load_base(weights: Path, **quantised: Any) -> Any:
    placement = load.choose_placement("float32")
    return load.load_base(weights, placement, QuantizationConfig(**quantised))


@pytest.fixture(scope="module")
def tokenizer(weights: Path) -> Any:
    return load.load_tokenizer(weights)


@pytest.fixture(scope="module")
def provenance(weights: Path, tokenizer: Any) -> Provenance:
    return provenance_of(weights, tokenizer)


def save(weights: Path, folder: Path, provenance: Provenance, tokenizer: Any, **lora: Any) -> None:
    tuned = adapters.add_adapter(load_base(weights), LoraConfig(**lora), checkpointing=False)
    peft_oracle.move(tuned, 1)
    rendering = Rendering(Form.CHAT, tokenizer.chat_template)
    adapters.save_adapter(tuned, folder, "/workspace/weights", rendering, provenance)


@pytest.fixture(scope="module")
def saved(
    weights: Path, provenance: Provenance, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save(weights, folder, provenance, tokenizer)
    return folder


@pytest.fixture
def mine(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "mine"))


@pytest.fixture
def verifier(weights: Path, provenance: Provenance, tokenizer: Any) -> Verifier:
    return Verifier(StackedAdapters(load_base(weights)), provenance, tokenizer)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_on_what_it_was_tuned_on_everything_matches(verifier: Verifier, mine: Path) -> None:
    loaded, found = verifier.add("mine", mine)
    assert loaded.name == "mine"
    assert (found.base, found.tokenizer, found.template) == (Match.MATCHES,) * 3
    assert found.largest_difference > 0.5
    assert not found.changes_nothing
    assert str(found).startswith(
        "base matches, tokenizer matches, template matches, largest difference "
    )
    assert json.loads(json.dumps(found.fields()))["base"] == "matches"


def test_how_the_base_is_loaded_makes_no_difference(
    weights: Path, provenance: Provenance, tokenizer: Any, mine: Path
) -> None:
    base = load_base(weights, load_in_4bit=True)
    _, found = Verifier(StackedAdapters(base), provenance, tokenizer).add("mine", mine)
    assert found.base is Match.MATCHES


def test_an_adapter_without_a_record_is_served_as_not_recorded(
    verifier: Verifier, mine: Path
) -> None:
    (mine / "kaito_rendering.json").unlink()
    _, found = verifier.add("mine", mine)
    assert (found.base, found.tokenizer, found.template) == (Match.NOT_RECORDED,) * 3
    assert found.largest_difference > 0.5


def test_a_record_of_an_older_release_is_served_as_not_recorded(
    verifier: Verifier, mine: Path
) -> None:
    old = ("rendering", "chat_template", "chat_template_digest")
    edit(mine / "kaito_rendering.json", lambda record: {key: record[key] for key in old})
    _, found = verifier.add("mine", mine)
    assert (found.base, found.tokenizer) == (Match.NOT_RECORDED,) * 2
    assert found.template is Match.MATCHES


def test_a_template_of_its_own_is_reported(verifier: Verifier, mine: Path, tokenizer: Any) -> None:
    other = "{{ messages[0]['content'] }}"
    record = Rendering(Form.CHAT, other)
    edit(
        mine / "kaito_rendering.json",
        lambda content: (
            content | {"chat_template": other, "chat_template_digest": record.template_digest}
        ),
    )
    loaded, found = verifier.add("mine", mine)
    assert found.template is Match.OWN
    assert loaded.rendering == record


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"base_digest": "sha256:" + "0" * 64},
            "it was tuned on other weights (sha256:00000000...",
        ),
        (
            {"tokenizer_digest": "sha256:" + "0" * 64},
            "it was tuned on another tokenizer (sha256:0000",
        ),
        (
            {"base_config": {"rope_theta": 5, "hidden_size": 65}},
            "has `hidden_size`: 65, and that of this base is 64",
        ),
    ],
)
def test_what_differs_is_named(
    verifier: Verifier, mine: Path, changes: dict[str, Any], says: str, failure_of: FailureOf
) -> None:
    edit(mine / "kaito_rendering.json", lambda record: record | changes)
    failure = failure_of(verifier.add, "mine", mine)
    assert failure.reason is Reason.ADAPTER_INVALID
    assert says in failure.message
    assert "serve it on the base that it was tuned on, or tune again" in failure.message
    assert verifier.adapters.names == ()


def set_b(folder: Path, value: float) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file(
        {key: torch.full_like(each, value) if "lora_B" in key else each
         for key, each in tensors.items()},
        path,
    )  # fmt: skip


def test_an_adapter_that_changes_nothing_is_served_and_says_so(
    verifier: Verifier, mine: Path
) -> None:
    set_b(mine, 0.0)
    _, found = verifier.add("mine", mine)
    assert found.changes_nothing
    assert found.largest_difference == 0.0
    assert "largest difference changes nothing" in str(found)


@pytest.mark.parametrize("lora", [{"use_dora": True}, {}], ids=["dora", "lora"])
def test_an_adapter_of_no_step_changes_nothing(
    lora: dict[str, Any], weights: Path, verifier: Verifier, tmp_path: Path
) -> None:
    tuned = adapters.add_adapter(load_base(weights), LoraConfig(**lora), checkpointing=False)
    adapters.save_adapter(tuned, tmp_path, "/workspace/weights", Rendering())
    _, found = verifier.add("mine", tmp_path)
    assert found.changes_nothing


def test_an_update_that_is_lost_in_rounding_is_refused(
    verifier: Verifier, mine: Path, failure_of: FailureOf
) -> None:
    set_b(mine, 1e-30)
    failure = failure_of(verifier.add, "mine", mine)
    assert "its update is not zero, and yet changes no answer: it is too small for float32" in (
        failure.message
    )
    assert verifier.adapters.names == ()


def test_a_layer_that_the_model_does_not_call_is_refused(
    verifier: Verifier, mine: Path, failure_of: FailureOf
) -> None:
    mlp = verifier.adapters.model.model.layers[1].mlp

    def without_a_call(inputs: torch.Tensor) -> torch.Tensor:
        gate, up = mlp.gate_up_proj(inputs).chunk(2, dim=-1)
        return linear(up * mlp.activation_fn(gate), mlp.down_proj.weight)

    mlp.forward = without_a_call
    failure = failure_of(verifier.add, "mine", mine)
    assert '"model.layers.1.mlp.down_proj", whose weights this model uses without calling' in (
        failure.message
    )


def test_a_layer_that_does_not_see_the_rows_in_their_order_is_refused(
    verifier: Verifier, mine: Path, failure_of: FailureOf
) -> None:
    mlp = verifier.adapters.model.model.layers[1].mlp
    forward = mlp.forward
    mlp.forward = lambda inputs: forward(inputs.flip(0)).flip(0)
    failure = failure_of(verifier.add, "mine", mine)
    assert "it changes rows that do not use it" in failure.message


def test_the_probe_asks_the_tokens_that_were_trained(
    weights: Path, provenance: Provenance, tokenizer: Any, tmp_path: Path
) -> None:
    base = load_base(weights)
    tokens = [301, 302]
    targets = ["o_proj"]
    its_own = load_base(weights)
    peft_oracle.train(its_own, tmp_path, target_modules=targets, trainable_token_indices=tokens)
    set_b(tmp_path, 0.0)
    stacked = StackedAdapters(base)
    _, found = Verifier(stacked, provenance, tokenizer).add("mine", tmp_path)
    assert sorted(stacked.changed_tokens("mine", 4)) == [301, 302]
    assert found.largest_difference > 0.1


def test_a_verification_is_a_plain_record() -> None:
    found = Verification("it", Match.MATCHES, Match.MATCHES, Match.OWN, 1.23456789, False)
    assert found.fields() == {
        "base": "matches", "tokenizer": "matches", "template": "the adapter's own",
        "largest_difference": 1.234568, "changes_nothing": False,
    }  # fmt: skip


# Digests


def test_shards_have_the_digest_of_the_whole(weights: Path, tmp_path: Path) -> None:
    load_base(weights).save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert digest_of_weights(tmp_path) == digest_of_weights(weights) != ""


def test_another_training_has_another_digest(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    norm = {
        key: each + 1e-3 if key == "model.norm.weight" else each for key, each in tensors.items()
    }
    save_file(norm, tmp_path / "model.safetensors")
    assert digest_of_weights(tmp_path) != digest_of_weights(weights)


def test_another_number_type_has_another_digest(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    half = {key: each.bfloat16() for key, each in tensors.items()}
    save_file(half, tmp_path / "model.safetensors")
    assert digest_of_weights(tmp_path) != digest_of_weights(weights)


def test_pickled_weights_have_a_digest_too(weights: Path, tmp_path: Path) -> None:
    tensors = load_file(weights / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    before = digest_of_weights(tmp_path)
    torch.save(tensors | {"model.norm.weight": torch.zeros(64)}, tmp_path / "pytorch_model.bin")
    assert before != digest_of_weights(tmp_path)
    assert before.startswith("sha256:")


def test_an_unknown_format_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "pytorch_model.bin").write_bytes(b"no pickle")
    assert digest_of_weights(tmp_path) == ""


def test_who_wrote_config_json_makes_no_difference(
    weights: Path, provenance: Provenance, tokenizer: Any, tmp_path: Path
) -> None:
    shutil.copytree(weights, tmp_path, dirs_exist_ok=True)
    edit(
        tmp_path / "config.json",
        lambda config: config | {"transformers_version": "0", "use_cache": False, "dtype": "x"},
    )
    assert provenance_of(tmp_path, tokenizer) == provenance


def test_another_token_has_another_digest(
    weights: Path, provenance: Provenance, tmp_path: Path
) -> None:
    tokenizer = load.load_tokenizer(weights)
    assert provenance_of(weights, tokenizer).tokenizer_digest == provenance.tokenizer_digest
    tokenizer.add_tokens(["<|new|>"])
    assert provenance_of(weights, tokenizer).tokenizer_digest != provenance.tokenizer_digest
