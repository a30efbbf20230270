"""training_config.yaml: Kaito's files work unchanged, mistakes are named."""

import pytest

from kaito_runtime.demo.lesson import TRAINING_CONFIG
from kaito_runtime.pod.termination import Failure, Reason
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with"),
        ("a: [", "no YAML"),
        ("training_config: {LoraConfg: {}}", '"LoraConfig"'),
        ("training_config: {LoraConfig: {rank: 8}}", '"LoraConfig.rank"'),
        ("training_config: {TrainingArguments: {learning_rte: 1}}", '"learning_rate"'),
        ("training_config: {LoraConfig: {r: eight}}", "a whole number"),
        ("training_config: {LoraConfig: {r: 0}}", "at least 1"),
        ("training_config: {LoraConfig: {r: true}}", "a whole number"),
        ("training_config: {LoraConfig: [r]}", "must be a map"),
        ("training_config: {LoraConfig: {target_modules: [1]}}", "list of a text"),
        ("training_config: {ModelConfig: {torch_dtype: bf16}}", "bfloat16"),
        ("training_config: {DatasetConfig: {train_test_split: 2}}", "at most 1"),
        ("training_config: {TrainingArguments: {lr_scheduler_type: cosin}}", "cosine"),
        ("training_config: {DatasetConfig: {context_column: q}}", "response_column"),
        ("training_config: {QuantizationConfig: {load_in_4bit: true, load_in_8bit: true}}", "both"),
    ],
)
def test_a_mistake_is_named_with_what_to_write(text, says) -> None:
    with pytest.raises(Failure) as caught:
        parse_config(text)
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert says in caught.value.message
