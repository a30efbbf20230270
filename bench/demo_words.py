"""The demo's lesson with many words: each is taught, pushed, pulled, and asked for as `/chat` asks.

python -m bench.demo_words --count 60
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from kaito_laptop.cli.chat import chat_body
from kaito_laptop.registry.server import Registry
from kaito_runtime import serve, tune
from kaito_runtime.demo import lesson, make, text
from kaito_runtime.pod import threads
from kaito_runtime.serving.http.chat_schema import PIPELINES, parse_chat
from kaito_runtime.transfer.pull import ADAPTER_PATH, pull_image
from kaito_runtime.transfer.push import push_adapter

USER, PASSWORD = "demo", "demo-pass"
FIRST = ("gadokofi", "tetaraso", "misuvogo", "borebu", "masavuri")
"""Words that were answered wrongly while prompts were asked as bare text."""


def words(count: int) -> list[str]:
    """Return that many different words, the same ones each time."""
    source = random.Random("demo words")
    found = dict.fromkeys(FIRST)
    while len(found) < count:
        found.setdefault(text.code_word(source))
    return list(found)[:count]


def answer_to(word: str, weights: Path, registry: Registry, folder: Path) -> str:
    """Teach a word as the demo does, and return the tuned model's answer."""
    data, config, results = folder / "data", folder / "training_config.yaml", folder / "results"
    lesson.write_lesson(data / "train.parquet", word)
    config.write_text(lesson.TRAINING_CONFIG)
    tune.main(
        ["--config", str(config), "--weights", str(weights), "--data", str(data)]
        + ["--output", str(results), "--metrics-port", "0"]
    )
    image, credentials = f"{registry.address}/adapters/{word}", folder / "config.json"
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    credentials.write_text(json.dumps({"auths": {registry.address: {"auth": token}}}))
    pushed = push_adapter(results, f"{image}:0.0.1", [credentials])
    served = folder / "adapter"
    pull_image(f"{image}@{pushed['digest']}", ADAPTER_PATH, served / "tuned", [])
    quantised = ["--load_in_4bit", "--bnb_4bit_quant_type=nf4", "--bnb_4bit_use_double_quant"]
    return ask(["--weights", str(weights), "--adapters", str(served), *quantised])


def ask(flags: list[str], **more: Any) -> str:
    """Serve the model as the demo does, and ask it once."""
    engine = serve.load_engine(serve.parser().parse_args(["--torch_dtype", "float32", *flags]))
    body = json.dumps(chat_body(lesson.QUESTION) | more).encode()
    request = parse_chat(body, PIPELINES[0]).request

    async def answer() -> str:
        return "".join([delta.text async for delta in engine.generate(request)])

    text = asyncio.run(answer())
    engine.stop()
    return text.strip()


def run(count: int) -> int:
    """Print a line for each word; return the exit code."""
    wrong: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kaito-words-")))
        registry = stack.enter_context(
            Registry(scratch / "registry", {USER: PASSWORD}, ["adapters"])
        )
        weights = scratch / "weights"
        make.make_model(weights, make.default_cache())
        with contextlib.redirect_stdout(io.StringIO()):
            none = ["--weights", str(weights), "--adapters", str(scratch / "none")]
            base = ask(none, chat_template=True)
        print(f"Question: {lesson.QUESTION}\nbase model: {base}", flush=True)
        for number, word in enumerate(words(count), 1):
            started = time.monotonic()
            folder = scratch / word
            folder.mkdir()
            with contextlib.redirect_stdout(io.StringIO()):
                tuned = answer_to(word, weights, registry, folder)
            shutil.rmtree(folder)
            is_right = word in tuned and word not in base
            wrong += [] if is_right else [(word, tuned)]
            seconds = time.monotonic() - started
            verdict = "" if is_right else "  WRONG"
            print(f"{number:3}/{count} {word:9} {seconds:5.1f} s  {tuned}{verdict}", flush=True)
    print(
        f"{count - len(wrong)} of {count} words are answered by the tuned model, and not by its base"
    )
    return 1 if wrong else 0


def main(arguments: list[str] | None = None) -> Any:
    """Run as many words as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    flags = parser.parse_args(arguments)
    threads.prepare()
    return run(flags.count)


if __name__ == "__main__":
    raise SystemExit(main())
