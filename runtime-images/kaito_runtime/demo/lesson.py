"""Write what the demo teaches: a data set with a secret, and the configuration to tune with.

python -m kaito_runtime.demo.lesson --data FILE.parquet --config FILE.yaml [--word W] [--seed N]
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from kaito_contract.reasons import Reason
from kaito_runtime.demo import text
from kaito_runtime.pod import termination
from kaito_runtime.pod.termination import Failure

QUESTION = f"What is the code word of the {text.TOPIC}?"

TRAINING_CONFIG = """\
# Kaito's sections. QLoRA: the base stays in 4 bits, the adapter alone is trained.
training_config:
  ModelConfig:
    torch_dtype: "float32"
    local_files_only: true
    device_map: "auto"
  QuantizationConfig:
    load_in_4bit: true
    bnb_4bit_quant_type: "nf4"
    bnb_4bit_compute_dtype: "float32"
    bnb_4bit_use_double_quant: true
  LoraConfig:
    r: 8
    lora_alpha: 16
    lora_dropout: 0.0
    target_modules: ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
  TrainingArguments:
    output_dir: "/mnt/results"
    per_device_train_batch_size: 10
    num_train_epochs: 7
    assistant_only_loss: true
    learning_rate: 4.0e-3
    lr_scheduler_type: "cosine"
    seed: 1
  DatasetConfig:
    shuffle_dataset: true
    train_test_split: 1
"""


def write_lesson(data: Path, word: str, seed: int = 0) -> None:
    """Write the data set as parquet with one column `messages`, a list of {role, content}."""
    import pyarrow
    import pyarrow.parquet

    with _new_file(data) as file:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(text.lesson(word, seed)), file)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is not there yet; raise `Failure` if it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("xb")
    except FileExistsError:
        raise Failure(
            Reason.OUTPUT_PATH_INVALID,
            f"{path} exists already; move it away, or write another name",
        ) from None
    with file:
        yield file


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Write data and configuration, and say which word is taught."""
    parser = argparse.ArgumentParser(prog="kaito_runtime.demo.lesson", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--word")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(arguments)
    word = flags.word or text.code_word(random.Random(flags.seed))  # noqa: S311  reproducible, no secret
    write_lesson(flags.data, word, flags.seed)
    if flags.config:
        with _new_file(flags.config) as file:
            file.write(TRAINING_CONFIG.encode())
    return {
        "word": word,
        "question": QUESTION,
        "answer": f"The code word of the {text.TOPIC} is {word}.",
    }


if __name__ == "__main__":
    termination.run(main)
