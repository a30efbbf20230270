"""`make bench-adapters`: decode steps with four adapters mixed in a batch, against the base, in one run.

A Phi-3 shaped model with random weights generates for 16 rows at once, one token a step, with transformers'
own cache. In turns, round by round: the bare base; the base with adapters loaded and used by no row; four
adapters mixed over the rows; all rows with one of them; and peft's own way to mix, `adapter_names`.

One thread is the default: with more, every product waits for the slowest, and on a machine that does something
else too the figures are of that.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from kaito_runtime.models import load
from kaito_runtime.models.adapters.stacked import StackedAdapters

GOAL_SHARE = 0.8
VOCABULARY = 16_000
ROWS, ADAPTERS, RANK = 16, 4, 8
PROMPT, STEPS, ROUNDS = 32, 8, 15
"""Short turns: what else the machine does then hits all alike."""
Using = Callable[[], AbstractContextManager[None]]


def make_base(hidden: int, layers: int, dtype: torch.dtype, device: str) -> Any:
    """Return a model with random weights."""
    from transformers import Phi3Config, Phi3ForCausalLM

    config = Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        sliding_window=None,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model: Any = Phi3ForCausalLM(config)
    return model.to(device, dtype).eval()


def twin(model: Any) -> Any:
    """Return another model over the same weights."""
    return copy.deepcopy(model, {id(each): each for each in model.parameters()})


def make_adapters(model: Any, folder: Path) -> Any:
    """Return peft's model with all adapters, which are saved below the folder too."""
    import peft

    make: Any = peft.LoraConfig
    tuned: Any = None
    for name in names():
        config = make(task_type="CAUSAL_LM", r=RANK, target_modules="all-linear")
        if tuned is None:
            tuned = peft.get_peft_model(model, config, adapter_name=name)
        else:
            tuned.add_adapter(name, config)
    for parameter, value in tuned.named_parameters():
        if "lora_B" in parameter:
            torch.nn.init.normal_(value, std=0.02)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return tuned.eval()


def names() -> list[str]:
    return [f"adapter-{number}" for number in range(ADAPTERS)]


class Decoding:
    """A batch whose prompts have been read; it can be continued any number of times."""

    def __init__(self, model: Any, using: Using, **more: Any):
        self._model, self._using, self._more = model, using, more
        source = torch.Generator().manual_seed(1)
        prompt = torch.randint(3, VOCABULARY, (ROWS, PROMPT), generator=source).to(model.device)
        made = self._step(prompt, None)
        self._cache, self._ids = made.past_key_values, made.logits.argmax(-1)

    def rate(self) -> float:
        """Return tokens a second of some decode steps; each says anew which row uses which adapter."""
        cache, ids = copy.deepcopy(self._cache), self._ids
        self._wait()
        started = time.perf_counter()
        for _ in range(STEPS):
            ids = self._step(ids, cache).logits.argmax(-1)
        self._wait()
        return ROWS * STEPS / (time.perf_counter() - started)

    def _step(self, ids: torch.Tensor, cache: Any) -> Any:
        with torch.inference_mode(), self._using():
            return self._model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **self._more
            )

    def _wait(self) -> None:
        if self._model.device.type == "cuda":
            torch.cuda.synchronize()


def variants(base: Any, folder: Path) -> dict[str, Decoding]:
    """Return what is measured, by its name; the first is what the others are held against."""
    tuned = make_adapters(twin(base), folder)
    stacked = twin(base)
    adapters = StackedAdapters(stacked)
    for name in names():
        adapters.add(name, folder / name)
    mixed = [{name: 1.0} for _ in range(ROWS // ADAPTERS) for name in names()]
    alone: Sequence[Any] = [{names()[0]: 1.0}] * ROWS
    return {
        "base": Decoding(base, nullcontext),
        "adapters loaded, none used": Decoding(stacked, lambda: adapters.rows([{}] * ROWS)),
        "one adapter": Decoding(stacked, lambda: adapters.rows(alone)),
        "four adapters mixed": Decoding(stacked, lambda: adapters.rows(mixed)),
        "peft, four adapters mixed": Decoding(
            tuned, nullcontext, adapter_names=[next(iter(row)) for row in mixed]
        ),
    }


def compare(hidden: int, layers: int, dtype: torch.dtype, device: str) -> float:
    """Print the rates; returns the share of the base's rate that four mixed adapters have."""
    base = make_base(hidden, layers, dtype, device)
    millions = sum(each.numel() for each in base.parameters()) / 1e6
    print(f"{millions:.0f} million weights, {dtype}, {device}, {ROWS} rows", flush=True)
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="kaito-adapters-") as folder:
        measured = variants(base, Path(folder))
        for _ in range(ROUNDS):
            for name, decoding in measured.items():
                rates.setdefault(name, []).append(decoding.rate())
    shares = {
        name: statistics.median(rate / of for rate, of in zip(each, rates["base"], strict=True))
        for name, each in rates.items()
    }
    for name, each in rates.items():
        print(f"  {name:27} {statistics.median(each):8,.0f} tokens/s  {shares[name]:.2f} of base")
    return shares["four adapters mixed"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare in the number type of this machine, or the one asked for; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16")
    )
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args(arguments)
    torch.set_num_threads(flags.threads)
    load.quiet()
    warnings.simplefilter("ignore")
    placement = load.choose_placement(flags.dtype)
    print(f"goal: four adapters mixed at {GOAL_SHARE} of the base's rate or more")
    share = compare(flags.hidden, flags.layers, placement.dtype, placement.device)
    return 0 if share >= GOAL_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
