"""What the trainer saves says what is to be added to the base as its files have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from kaito_contract.reasons import Reason
from kaito_contract.sections import LoraConfig
from kaito_runtime.models import adapters

from tests.harness import peft_oracle
from tests.harness.peft_oracle import logits
from tests.unit.runtime.conftest import FailureOf

IDS = torch.tensor([[3, 9, 14, 5, 20, 31]])


@pytest.mark.parametrize("init", ["pissa_niter_2", "pissa", "olora"])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_no_initialisation_is_repeated_where_it_is_loaded(
    init: str, use_rslora: bool, tmp_path: Path
) -> None:
    base = peft_oracle.make_base("phi3")
    lora = LoraConfig(r=4, init_lora_weights=init, use_rslora=use_rslora)
    trained = peft_oracle.train_as_we_do(base, tmp_path, lora)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 8)
    loaded = PeftModel.from_pretrained(peft_oracle.make_base("phi3"), str(tmp_path)).eval()
    torch.testing.assert_close(logits(loaded, IDS), logits(trained.model, IDS), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_a_shared_weight_has_no_initialisation_of_its_own(failure_of: FailureOf) -> None:
    base = peft_oracle.make_base("phi3")
    lora = LoraConfig(init_lora_weights="olora", target_modules=("o_proj", "lm_head"))
    failure = failure_of(adapters.add_adapter, base, lora, checkpointing=False)
    assert failure.reason is Reason.CONFIG_INVALID
    assert '`target_modules` names "lm_head": it shares its weights' in failure.message
