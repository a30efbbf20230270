"""The floor: all prompts in one call of generate(), without a server; asked by lines of JSON on stdin.

python -m bench.peers.static_batch WEIGHTS
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main() -> None:
    from kaito_runtime.pod import threads

    threads.prepare()  # before torch is imported, as in the server

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kaito_runtime.models import load

    load.quiet()
    weights = sys.argv[1]
    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(weights, padding_side="left")
    print("ready", flush=True)
    for line in sys.stdin:
        work = json.loads(line)
        started = time.perf_counter()
        inputs = tokenizer(work["prompts"], return_tensors="pt", padding=True)
        with torch.inference_mode():
            made = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=work["tokens"],
                min_new_tokens=work["tokens"],
            )
        tokenizer.batch_decode(made)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
