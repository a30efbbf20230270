"""What is served is what was trained: every kind, alone, beside another, summed, and at any strength."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from kaito_contract.sections import LoraConfig
from kaito_runtime.models.adapters.stacked import StackedAdapters

from tests.harness import peft_oracle
from tests.harness.peft_kinds import KINDS, OF_THE_TRAINER
from tests.harness.peft_oracle import Trained, by_definition, logits

ROWS: list[dict[str, float]] = [
    {},
    {"it": 1.0},
    {"other": 1.0},
    {"it": 1.0, "other": 1.0},
    {"it": 0.5},
    {"it": 0.0},
    {"it": -0.5, "other": 0.3},
]
ROUNDING = 1e-4
"""Of logits of about 5 in float32, after two layers."""

make_base = cache(peft_oracle.make_base)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture
def ids() -> torch.Tensor:
    found = torch.randint(
        3, peft_oracle.VOCABULARY, (1, 8), generator=torch.Generator().manual_seed(5)
    )
    found[0, 2], found[0, 4], found[0, 6] = 3, 5, 7  # tokens that some kinds train alone
    return found


@cache
def other(architecture: str, folder: Path) -> Trained:
    """Another adapter on all linear layers, of another rank and scale."""
    base = peft_oracle.make_base(architecture)
    return peft_oracle.train(
        base, folder / architecture, seed=9, r=3, use_rslora=True, target_modules="all-linear"
    )


def served(base: Any, rows: list[dict[str, float]], ids: torch.Tensor, **trained: Trained) -> Any:
    """Return the logits of the rows, with the adapters loaded for as long."""
    adapters = StackedAdapters(base)
    for name, each in trained.items():
        adapters.add(name, each.folder)
    try:
        with adapters.rows(rows):
            return logits(base, ids.repeat(len(rows), 1))
    finally:
        for name in adapters.names:
            adapters.remove(name)


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        pytest.param(architecture, config, id=f"{architecture}: {name}")
        for architecture, each in KINDS.items()
        for name, config in each.items()
    ],
)
def test_every_kind_is_served_as_it_was_trained(
    architecture: str, config: dict[str, Any], folder: Path, tmp_path: Path, ids: torch.Tensor
) -> None:
    base = make_base(architecture)
    trained = {
        "it": peft_oracle.train(peft_oracle.make_base(architecture), tmp_path, **config),
        "other": other(architecture, folder),
    }
    found = served(base, ROWS, ids, **trained)
    of_trainer = logits(trained["it"].model, ids)[0]
    assert (of_trainer - logits(base, ids)[0]).abs().max() > 0.5, "an adapter that changes nothing"
    torch.testing.assert_close(found[1], of_trainer, rtol=0, atol=ROUNDING)
    for row, weights in enumerate(ROWS):
        wanted = by_definition(base, trained, weights, ids)[0]
        torch.testing.assert_close(found[row], wanted, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("config", OF_THE_TRAINER.values(), ids=OF_THE_TRAINER)
def test_what_the_trainer_saves_is_served_as_it_was_trained(
    config: dict[str, Any], tmp_path: Path, ids: torch.Tensor
) -> None:
    architecture = "phi" if "bias" in config else "phi3"
    base, its_own = make_base(architecture), peft_oracle.make_base(architecture)
    trained = peft_oracle.train_as_we_do(its_own, tmp_path, LoraConfig(r=4, **config))
    of_trainer = logits(trained.model, ids)
    assert (of_trainer - logits(base, ids)).abs().max() > 0.5
    found = served(base, [{"it": 1.0}, {}, {"it": 0.0}], ids, it=trained)
    torch.testing.assert_close(found[:1], of_trainer, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(found[1:2], logits(base, ids), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(found[2:], logits(base, ids), rtol=0, atol=ROUNDING)
