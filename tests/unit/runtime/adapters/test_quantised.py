"""Adapters on a base in 4 or 8 bits: the change is the trained one, whatever the base's kernels round.

bitsandbytes has two kernels on a processor: while it trains it multiplies in float32, and afterwards in bfloat16
with weights that it packs anew (4 bits), or with activations in 8 bits (8 bits), where the columns that stay
out depend on the whole batch. Held to the trainer's kernel the difference is rounding; with the other one it is
that of the base itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models import load
from kaito_runtime.models.adapters.base import weight_of
from kaito_runtime.models.adapters.stacked import StackedAdapters

from tests.harness import peft_oracle
from tests.harness.peft_kinds import PHI3
from tests.harness.peft_oracle import Trained, by_definition, logits

ROWS: list[dict[str, float]] = [{}, {"it": 1.0}, {"other": 1.0}, {"it": 0.5, "other": 1.0}]
IDS = torch.tensor([[3, 9, 14, 5, 20, 31, 7, 100]])
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
QUANTISATIONS: dict[str, dict[str, Any]] = {
    "nf4": NF4,
    "nf4 twice": NF4 | {"bnb_4bit_use_double_quant": True},
    "fp4": NF4 | {"bnb_4bit_quant_type": "fp4"},
    "int8": {"load_in_8bit": True},
}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "tied output": {"target_modules": [*PHI3, "lm_head"]},
    "tied embedding": {"target_modules": [*PHI3, "embed_tokens"]},
    "saved modules": {"modules_to_save": ["lm_head", "norm"]},
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:MatMul8bitLt:UserWarning", "ignore:.*kernels.*:UserWarning"
)

Load = Callable[[], Any]


def loader(weights: Path, name: str) -> Load:
    """Return what loads the base once more: quantised modules can't be copied."""
    quantization = QuantizationConfig(**QUANTISATIONS[name])
    return lambda: load.load_base(weights, load.choose_placement("float32"), quantization)


def trained_on(load_base: Load, kind: str, folder: Path) -> dict[str, Trained]:
    config: dict[str, Any] = {"target_modules": PHI3} | KINDS[kind]
    return {
        "it": peft_oracle.train(load_base(), folder / "it", **config),
        "other": peft_oracle.train(
            load_base(), folder / "other", seed=9, r=3, target_modules="all-linear"
        ),
    }


def served(base: Any, trained: dict[str, Trained]) -> torch.Tensor:
    adapters = StackedAdapters(base)
    for name, each in trained.items():
        adapters.add(name, each.folder)
    with adapters.rows(ROWS):
        return logits(base, IDS.repeat(len(ROWS), 1))


# peft's DoRA loses the scales of 8-bit weights on a processor, and so can't be trained there.
@pytest.mark.parametrize(
    ("quantisation", "kind"),
    [(q, k) for q in QUANTISATIONS for k in KINDS if (q, k) != ("int8", "dora")],
)
def test_the_change_is_the_trained_one(
    quantisation: str, kind: str, weights: Path, tmp_path: Path
) -> None:
    load_base = loader(weights, quantisation)
    trained = trained_on(load_base, kind, tmp_path)
    base = load_base()
    for model in (base, *(each.model for each in trained.values())):
        model.train()  # the trainer's kernel; nothing here drops out
    found = served(base, trained)
    reference = load_base().train()
    for row, weights_of_row in enumerate(ROWS):
        wanted = by_definition(reference, trained, weights_of_row, IDS)[0]
        torch.testing.assert_close(found[row], wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("quantisation", ["nf4", "nf4 twice"])
@pytest.mark.parametrize("kind", KINDS)
def test_served_it_is_no_farther_from_the_trainer_than_the_base_itself(
    quantisation: str, kind: str, weights: Path, tmp_path: Path
) -> None:
    load_base = loader(weights, quantisation)
    trained = trained_on(load_base, kind, tmp_path)
    for each in trained.values():
        each.model.train()
    reference, base = load_base().train(), load_base().eval()
    logits(base, IDS)  # the weights are packed from now on
    found = served(base, trained)
    wanted = [by_definition(reference, trained, row, IDS)[0] for row in ROWS]
    of_base, *others = [
        float((mine - of_trainer).abs().max())
        for mine, of_trainer in zip(found, wanted, strict=True)
    ]
    assert of_base < 0.1
    assert max(others) < 5 * max(of_base, 1e-4)  # equal kernels where the processor has no bfloat16


@pytest.mark.parametrize("quantisation", ["nf4", "int8"])
def test_the_weight_of_a_layer_is_the_one_that_it_multiplies_with(
    quantisation: str, weights: Path
) -> None:
    layer = loader(weights, quantisation)().model.layers[0].mlp.down_proj
    inputs = torch.randn(5, 128, generator=torch.Generator().manual_seed(1))
    before = weight_of(layer)
    with torch.inference_mode():
        made = layer(inputs)
    torch.testing.assert_close(made, linear(inputs, before), rtol=0, atol=0.05)
    torch.testing.assert_close(weight_of(layer), before, rtol=0, atol=0.005)


def test_dora_on_8_bits_has_the_norms_of_the_weights_in_use(weights: Path, tmp_path: Path) -> None:
    plain = loader(weights, "nf4")  # any base: magnitudes are learnt, and are what they are
    it = peft_oracle.train(plain(), tmp_path, target_modules=["down_proj"], use_dora=True)
    base = loader(weights, "int8")()
    name = "model.layers.0.mlp.down_proj"
    theirs: Any = it.model.get_submodule(f"base_model.model.{name}")
    a, b = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    layer = base.get_submodule(name)
    direction = weight_of(layer) + theirs.scaling["default"] * b @ a
    magnitude = theirs.lora_magnitude_vector["default"].weight
    inputs = torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(1))
    adapters = StackedAdapters(base)
    adapters.add("it", tmp_path)
    with torch.inference_mode(), adapters.rows([{}, {"it": 1.0}]):
        made = layer(inputs)
    wanted = linear(inputs[1], direction * (magnitude / direction.norm(dim=1))[:, None])
    torch.testing.assert_close(made[1], wanted, rtol=0, atol=0.05)
    torch.testing.assert_close(made[0], linear(inputs[0], weight_of(layer)), rtol=0, atol=0.05)
