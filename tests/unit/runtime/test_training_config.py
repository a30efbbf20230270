"""training_config.yaml: Kaito's files work unchanged, mistakes are named."""

import pytest

from kaito_contract.reasons import Reason
from kaito_runtime.demo.lesson import TRAINING_CONFIG
from kaito_runtime.pod.termination import Failure
from kaito_runtime.tuning.config import parse_config

KAITO_QLORA = """\
training_config:
  ModelConfig: {torch_dtype: bfloat16, local_files_only: true, device_map: auto}
  QuantizationConfig:
    load_in_4bit: true
    bnb_4bit_quant_type: nf4
    bnb_4bit_compute_dtype: bfloat16
    bnb_4bit_use_double_quant: true
  LoraConfig: {r: 8, lora_alpha: 8, lora_dropout: 0.0}
  TrainingArguments:
    output_dir: /mnt/results
    ddp_find_unused_parameters: false
    save_strategy: epoch
    per_device_train_batch_size: 1
  DataCollator: {mlm: true}
  DatasetConfig: {shuffle_dataset: true, train_test_split: 1}
"""


def test_the_template_of_kaito_is_read() -> None:
    config = parse_config(KAITO_QLORA)
    assert config.quantization.name == "nf4"
    assert config.training.per_device_train_batch_size == 1
    assert config.training.num_train_epochs == 3
    assert "TrainingArguments.save_strategy" in config.without_effect


def test_the_configuration_of_the_demo_is_read() -> None:
    assert parse_config(TRAINING_CONFIG).quantization.name == "nf4"


def test_a_number_without_a_dot_before_its_exponent_is_a_number() -> None:
    config = parse_config("training_config: {TrainingArguments: {learning_rate: 5e-5}}")
    assert config.training.learning_rate == 5e-5


def test_one_module_is_a_list_of_one() -> None:
    config = parse_config("training_config: {LoraConfig: {target_modules: q_proj}}")
    assert config.lora.target_modules == ("q_proj",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must have the key"),
        ("a: [", "not valid YAML (line 1)"),
        ("training_config: {LoraConfg: {}}", "`LoraConfig`"),
        ("training_config: {LoraConfig: {rank: 8}}", "`LoraConfig.rank`"),
        ("training_config: {TrainingArguments: {learning_rte: 1}}", "`learning_rate`"),
        ("training_config: {LoraConfig: {r: eight}}", "a whole number"),
        ("training_config: {LoraConfig: {r: 0}}", "at least 1"),
        ("training_config: {LoraConfig: {r: true}}", "a whole number"),
        ("training_config: {LoraConfig: [r]}", "must be a map"),
        (
            "training_config: {LoraConfig: {target_modules: [1]}}",
            "`LoraConfig.target_modules[0]` must be a text, found 1",
        ),
        ("training_config: {LoraConfig: {target_modules: {a: b}}}", "must be a list"),
        (
            "training_config: {LoraConfig: {rank_pattern: {q: x}}}",
            "`LoraConfig.rank_pattern[q]` must be a whole",
        ),
        (
            "training_config: {LoraConfig: {init_lora_weights: 3}}",
            "must be true or false or a text, found 3",
        ),
        *(
            (
                f"training_config: {{LoraConfig: {{init_lora_weights: {init}}}}}",
                f"must be true, false, gaussian, orthogonal, mica, olora, pissa or pissa_niter_N with a number N, "
                f'found "{init}"',
            )
            for init in ("loftq", "corda", "eva", "lora_ga", "pissa_niter_x", "Pissa")
        ),
        *(
            (
                f"training_config: {{LoraConfig: {{init_lora_weights: {init}}}, "
                "QuantizationConfig: {load_in_4bit: true}}",
                f'must be true, false or gaussian on a quantised base, found "{init}"',
            )
            for init in ("olora", "pissa", "pissa_niter_4", "orthogonal", "mica")
        ),
        ("training_config: {LoraConfig: {rank_pattern: {2026-01-01: 3}}}", "texts as keys"),
        ("training_config: {TrainingArguments: {learning_rate: .nan}}", "a finite number"),
        ("training_config: {LoraConfig: {layers_pattern: 3}}", "must be a text, found 3"),
        (
            "training_config: {ModelConfig: {trust_remote_code: 1}}",
            "must be true or false, found 1",
        ),
        ("training_config: {TrainingArguments: {max_steps: 1.5}}", "a whole number, found 1.5"),
        ("training_config: {ModelConfig: {torch_dtype: bf16}}", "bfloat16"),
        ("training_config: {DatasetConfig: {train_test_split: 2}}", "at most 1"),
        ("training_config: {TrainingArguments: {lr_scheduler_type: cosin}}", "cosine"),
        ("training_config: {DatasetConfig: {context_column: q}}", "response_column"),
        ("training_config: {QuantizationConfig: {load_in_4bit: true, load_in_8bit: true}}", "both"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(Failure) as caught:
        parse_config(text)
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert says in caught.value.message
