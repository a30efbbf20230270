"""An adapter that can't be served exactly is refused, for the true reason and with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora.config import KasaConfig
from safetensors.torch import load_file, save_file

from kaito_contract.reasons import Reason
from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models import load
from kaito_runtime.models.adapters.stacked import StackedAdapters

from tests.harness import peft_oracle
from tests.harness.peft_kinds import PHI3
from tests.unit.runtime.conftest import FailureOf

Tensors = dict[str, torch.Tensor]
FIRST = "base_model.model.model.layers.0.mlp.down_proj"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    peft_oracle.train(peft_oracle.make_base("phi3"), folder, target_modules=PHI3, use_dora=True)
    return folder


@pytest.fixture
def mine(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "mine"))


@pytest.fixture(scope="module")
def base() -> Any:
    return peft_oracle.make_base("phi3")


def refused(failure_of: FailureOf, base: Any, folder: Path) -> str:
    """Return why the adapter is refused; the base is as before."""
    adapters = StackedAdapters(base)
    failure = failure_of(adapters.add, "mine", folder)
    assert failure.reason is Reason.ADAPTER_INVALID
    assert failure.message.startswith('adapter "mine" can\'t be served: ')
    assert adapters.names == ()
    assert not any(module._forward_hooks for module in base.modules())
    return failure.message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, 'its kind is "IA3"; only LORA can be served'),
        ({"peft_type": "LOHA"}, 'its kind is "LOHA"'),
        ({"peft_type": "PROMPT_TUNING"}, 'its kind is "PROMPT_TUNING"'),
        ({"peft_type": None}, 'its kind is "None"'),
        ({"task_type": "SEQ_CLS"}, 'its task_type is "SEQ_CLS"'),
        ({"alora_invocation_tokens": [5]}, "`alora_invocation_tokens`: it acts on the tokens after"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "`layer_replication`: it repeats layers"),
        ({"target_parameters": ["mlp.experts"]}, "`target_parameters`: it changes parameters that"),
        ({"arrow_config": {"top_k": 3}}, "`arrow_config`: it routes every token"),
        ({"use_qalora": True}, "`use_qalora`: it pools its inputs"),
        ({"megatron_config": {"a": 1}}, "`megatron_config`: its layers are Megatron's"),
        ({"of_tomorrow": 3}, "`of_tomorrow`: which this release does not know"),
        ({"init_lora_weights": "loftq"}, "the base that its initialisation quantised"),
        ({"init_lora_weights": "corda"}, "the data that its initialisation was computed from"),
        ({"init_lora_weights": "lora_ga"}, "the gradients"),
        ({"init_lora_weights": "pissa_niter_4"}, "the random numbers that its initialisation drew"),
        ({"init_lora_weights": "of_tomorrow"}, "path_initial_model_for_weight_conversion"),
        ({"r": "four"}, "not the configuration of an adapter (`r`: "),
        ({"r": None}, "not the configuration of an adapter (`r`: "),
        ({"bias": "some"}, "not the configuration of an adapter (`bias`: "),
        ({"target_modules": "*"}, "a pattern is not a regular expression"),
        ({"rank_pattern": {"(": 3}}, "a pattern is not a regular expression"),
        ({"r": 8}, 'lora_A.weight of "model.layers.0.'),
        ({"target_modules": [*PHI3, "lm_head"]}, 'lacks the tensors of "lm_head", which `target_modules` names'),
        ({"target_modules": PHI3[:3]}, "_proj\" and 1 more, which `target_modules` does not name"),
        (
            {"use_bdlora": {"nblocks": 2, "target_modules_bd_a": ["o_proj"]}},
            'lora_A.weight of "model.layers.0.self_attn.o_proj" is [4, 64]',
        ),
        ({"kasa_config": {"beta": 1}}, "lacks lora_diag"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_served_says_why(
    changes: dict[str, Any], says: str, mine: Path, base: Any, failure_of: FailureOf
) -> None:
    path = mine / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert says in refused(failure_of, base, mine)


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {
        key: value for key, value in tensors.items() if not any(name in key for name in names)
    }


def also(**more: torch.Tensor) -> Callable[[Tensors], Tensors]:
    named = {key.replace("__", "."): value for key, value in more.items()}
    return lambda tensors: tensors | named


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("layers.0.mlp.down_proj.lora_A"), "lacks lora_A.weight of the linear layer"),
        (without("layers.0.mlp.down_proj.lora_B"), "lacks lora_B.weight of the linear layer"),
        (without("layers.0.mlp.down_proj.lora_mag"), "lacks lora_magnitude_vector"),
        (without("layers.0.mlp.down_proj"), 'lacks the tensors of "model.layers.0.mlp.down_proj"'),
        (also(lm_head__lora_A__weight=torch.ones(4, 32)), 'does not begin with "base_model.model."'),
        (
            also(base_model__model__model__layers__9__mlp__down_proj__lora_A__weight=torch.ones(4, 48)),
            'tensors of "model.layers.9.mlp.down_proj", which fit no layer',
        ),
        (also(**{f"{FIRST}.lora_A.weight": torch.ones(4, 47)}), "[4, 47]"),
        (also(**{f"{FIRST}.lora_B.weight": torch.ones(31, 4)}), "[31, 4]"),
        (also(**{f"{FIRST}.lora_magnitude_vector": torch.ones(31)}), "[31]"),
        (also(**{f"{FIRST}.lora_A.weight": torch.full((4, 48), torch.nan)}), "not finite"),
        (also(**{f"{FIRST}.lora_embedding_A": torch.ones(4, 48)}), "has lora_embedding_A of the linear layer"),
        (also(**{f"{FIRST}.base_layer.scales": torch.ones(3)}), "fit no layer"),
        (
            also(base_model__model__model__embed_tokens__weight=torch.ones(50, 32)),
            'its "model.embed_tokens" has 50 rows, and that of the base 48: it was tuned on another base '
            "model, or after tokens were added to the vocabulary",
        ),
        (also(base_model__model__lm_head__weight=torch.ones(48, 31)), "[48, 31]"),
        (also(base_model__model__model__norm__weight=torch.ones(31)), "[31]"),
        (
            also(base_model__model__model__rotary_emb__inv_freq=torch.ones(4)),
            'changes "model.rotary_emb", which is Phi3RotaryEmbedding: only linear layers',
        ),
    ],
)  # fmt: skip
def test_tensors_that_fit_not_say_which(
    change: Callable[[Tensors], Tensors], says: str, mine: Path, base: Any, failure_of: FailureOf
) -> None:
    path = mine / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    assert says in refused(failure_of, base, mine)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "not the configuration"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "not the configuration"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (
            lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
            "adapter_model.bin is a pickle, which is code",
        ),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"no"), "is damaged"),
        (lambda f: (f / "kaito_rendering.json").write_text("no"), "kaito_rendering.json is not"),
    ],
)
def test_files_that_are_not_whole_say_what_is_missing(
    spoil: Callable[[Path], Any], says: str, mine: Path, base: Any, failure_of: FailureOf
) -> None:
    spoil(mine)
    assert says in refused(failure_of, base, mine)


def test_a_second_of_the_same_name_is_refused(mine: Path, failure_of: FailureOf) -> None:
    adapters = StackedAdapters(peft_oracle.make_base("phi3"))
    adapters.add("mine", mine)
    assert "loaded already" in failure_of(adapters.add, "mine", mine).message
    assert adapters.names == ("mine",)


def test_what_was_taken_out_of_a_shared_weight_can_not_be_told(
    tmp_path: Path, base: Any, failure_of: FailureOf
) -> None:
    its_own = peft_oracle.make_base("phi3")
    targets = ["o_proj", "lm_head"]
    peft_oracle.train(its_own, tmp_path, target_modules=targets, init_lora_weights="pissa")
    says = (
        'out of the weights of "lm_head" (pissa), and so out of "model.embed_tokens", which shares'
    )
    assert says in refused(failure_of, base, tmp_path)


@pytest.mark.parametrize(
    "config", [{"init_lora_weights": "pissa"}, {"kasa_config": KasaConfig()}], ids=["pissa", "kasa"]
)
def test_what_was_taken_out_of_a_base_is_not_in_its_quantised_weights(
    config: dict[str, Any], weights: Path, tmp_path: Path, failure_of: FailureOf
) -> None:
    def load_base(**quantised: Any) -> Any:
        placement = load.choose_placement("float32")
        return load.load_base(weights, placement, QuantizationConfig(**quantised))

    peft_oracle.train(load_base(), tmp_path, target_modules=PHI3, **config)
    message = refused(failure_of, load_base(load_in_4bit=True), tmp_path)
    assert "a quantised base does not have it any more; serve the base unquantised" in message


def test_layers_that_see_some_of_the_tokens_are_refused(
    tmp_path: Path, failure_of: FailureOf
) -> None:
    class Experts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList([torch.nn.Linear(8, 4)])
            self.layer = self.experts[0]
            self.dtype = torch.float32

    model = Experts()
    peft_oracle.train_layer(model, tmp_path, 1)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({key.replace(".layer.", ".experts.0."): each for key, each in tensors.items()}, path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace('["layer"]', '["experts.0"]'))
    assert 'changes "experts.0", which is Linear' in refused(failure_of, model, tmp_path)
