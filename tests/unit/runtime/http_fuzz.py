"""Bodies that are nearly valid, for the three routes; and what must hold of every answer.

`python -m tests.unit.runtime.http_fuzz --count 20000` prints how many of each status came; with
`--model` a small model answers, where it is otherwise an engine that says the prompt again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kaito_runtime import serve
from kaito_runtime.pod import threads
from kaito_runtime.serving.engine import ChatEngine
from kaito_runtime.serving.http.limits import Limits

from tests.harness.chat_world import World, parsed, post
from tests.harness.tiny_model import make_tiny_model

ANSWER_SECONDS = 120
"""When to give up; a model on a busy machine may take a while for all that its context holds."""
MARKED = "{% if tools %}<tools>{% endif %}<tool_call>"
LARGE = {f"a number of {digits} digits": b"9" * digits for digits in (400, 4_300, 5_000)}
"""Written as numbers into the body; Python would refuse to, and Hypothesis to show them."""
TEXT = st.text(max_size=8) | st.sampled_from(["", "Where", "<tool_call>{", "\ud800", "\x00"])
NUMBER = (
    st.integers(-2, 40)
    | st.floats(width=16)
    | st.sampled_from([2**63, -(2**63), 1e308, "7", True, *LARGE])
)
DEEP = {f"nested {depth} times": b"[" * depth + b"]" * depth for depth in (90, 150, 300, 985)}
LEAF = st.none() | st.booleans() | NUMBER | TEXT | st.sampled_from(list(DEEP))
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
BOOLEAN = st.booleans()
COUNT = st.integers(1, 5) | st.none()
SHARE = st.floats(0, 1, width=16) | st.none()
WORDS = st.sampled_from(["Where", " does it live?", "<tool_call>{", "f"])
TEXTS = WORDS | st.lists(WORDS, min_size=1, max_size=3)
IDS = st.lists(st.integers(0, 9), min_size=1, max_size=3)


def near(fields: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> Any:
    """An object that mostly has what it needs, some of what it can have, and seldom something else."""
    names = sorted(fields)

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True)) if names else []
        content = {key: draw(value) for key, value in required.items()}
        content |= {key: draw(fields[key]) for key in chosen}
        rare = draw(st.integers(0, 12))
        if rare == 0 and content:
            content[draw(st.sampled_from(sorted(content)))] = draw(ANY)
        elif rare == 1:
            content[draw(st.sampled_from(names) if names else TEXT)] = draw(ANY)
        elif rare == 2 and required:
            del content[draw(st.sampled_from(sorted(required)))]
        elif rare == 3:
            content[draw(TEXT)] = draw(ANY)
        return content

    return build()


SHARED: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["default", "echo", "poet", None]),
    "stream": BOOLEAN,
    "stream_options": near({"include_usage": BOOLEAN}),
    "stop": TEXTS,
    "logit_bias": st.dictionaries(st.integers(0, 9).map(str), st.integers(-9, 9), max_size=2),
    **dict.fromkeys(
        ["max_tokens", "n", "seed", "top_k", "repetition_penalty", "repeat_penalty", "min_tokens",
         "n_predict"],
        COUNT,
    ),
    **dict.fromkeys(
        ["temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p"], SHARE
    ),
    **dict.fromkeys(
        ["ignore_eos", "include_stop_str_in_output", "skip_special_tokens"], BOOLEAN
    ),
}  # fmt: skip
PART = near({}, type=st.just("text"), text=WORDS)
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', "["])
CALL = near({"id": WORDS}, type=st.just("function"),
            function=near({}, name=st.sampled_from(["f", "g"]), arguments=ARGUMENTS))  # fmt: skip
MESSAGE = near(
    {"name": WORDS, "tool_calls": st.lists(CALL, max_size=2), "tool_call_id": WORDS},
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    content=WORDS | st.lists(PART, max_size=2),
)
SCHEMA = near(
    {"properties": st.just({"a": {"type": "string"}}), "$defs": st.just({"a": {}})},
    type=st.sampled_from(["object", "array"]),
)
TOOL = near({}, type=st.just("function"),
            function=near({"description": WORDS, "parameters": SCHEMA},
                          name=st.sampled_from(["f", "g", "h"])))  # fmt: skip
CHOICE = st.sampled_from(["none", "auto", "required"]) | near(
    {}, type=st.just("function"), function=near({}, name=st.sampled_from(["f", "x"]))
)
FORMAT = near({"json_schema": near({"name": WORDS}, schema=SCHEMA)},
              type=st.sampled_from(["text", "json_object", "json_schema"]))  # fmt: skip
OPENAI_CHAT = near(
    {
        **SHARED,
        "max_completion_tokens": COUNT,
        "logprobs": BOOLEAN,
        "top_logprobs": COUNT,
        "response_format": FORMAT,
        "tools": st.lists(TOOL, max_size=3),
        "tool_choice": CHOICE,
        "parallel_tool_calls": BOOLEAN,
        "chat_template_kwargs": st.dictionaries(st.just("enable_thinking"), BOOLEAN),
        "reasoning_effort": WORDS,
    },
    messages=st.lists(MESSAGE, min_size=1, max_size=3),
)
OPENAI_TEXT = near(
    {**SHARED, "echo": BOOLEAN, "logprobs": COUNT, "suffix": st.none()},
    prompt=TEXTS | IDS | st.lists(IDS, max_size=3),
)
GENERATE = near(
    {
        "stop_strings": TEXTS,
        "bad_words_ids": st.lists(IDS, max_size=2),
        "eos_token_id": COUNT | IDS,
        "logit_bias": SHARED["logit_bias"],
        "sequence_bias": st.lists(st.tuples(IDS, st.integers(-2, 2)), max_size=1),
        "exponential_decay_length_penalty": st.tuples(st.integers(0, 5), st.integers(1, 2)),
        **dict.fromkeys(["do_sample", "early_stopping", "use_cache", "token_healing"], BOOLEAN),
        **dict.fromkeys(
            ["max_length", "min_length", "num_beams", "temperature", "top_k", "top_p", "typical_p",
             "repetition_penalty", "max_new_tokens", "num_return_sequences", "max_time", "seed",
             "length_penalty", "no_repeat_ngram_size", "pad_token_id", "num_beam_groups", "min_p"],
            COUNT,
        ),
    }
)  # fmt: skip
KAITO = near(
    {
        "messages": st.lists(MESSAGE, max_size=2),
        "generate_kwargs": GENERATE,
        "adapter": SHARED["model"],
        "handle_long_generation": st.sampled_from(["hole", None]),
        "prefix": WORDS,
        **dict.fromkeys(
            ["stream", "return_full_text", "clean_up_tokenization_spaces", "chat_template"], BOOLEAN
        ),
    },
    prompt=WORDS,
)


def encoded(content: Any, cut: int, nesting: int) -> bytes:
    """A body as bytes: sometimes cut off, sometimes nested deeply."""
    raw = json.dumps(content).encode()
    for name, written in {**LARGE, **DEEP}.items():
        raw = raw.replace(f'"{name}"'.encode(), written)
    raw = b"[" * nesting + raw + b"]" * nesting
    return raw[: len(raw) - cut] if cut else raw


BODIES = st.builds(
    lambda route, cut, nesting: (route[0], encoded(route[1], cut, nesting)),
    st.tuples(st.just("/chat"), KAITO)
    | st.tuples(st.just("/v1/chat/completions"), OPENAI_CHAT)
    | st.tuples(st.just("/v1/completions"), OPENAI_TEXT),
    st.sampled_from([0] * 30 + [1, 5]),
    st.sampled_from([0] * 60 + [2, 150, 900, 5_000]),
)


def judge(path: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Every answer is one of a client's mistake or a good one, in its API's shape."""
    assert status in (200, 400, 404, 413, 422), (status, body)
    if headers["content-type"].startswith("text/event-stream"):
        assert status == 200
        assert b"Internal Server Error" not in body
        return
    content = json.loads(body)
    if status == 200:
        return
    if path == "/chat":
        assert content["detail"]
    else:
        assert content["error"]["message"]
        assert content["error"]["code"]
        assert set(content["error"]) == {"message", "type", "param", "code"}


def run(count: int, engine: ChatEngine | None = None) -> Counter[tuple[str, int]]:
    """Ask a server with so many bodies; returns how many of each status came on each route."""
    told: Counter[tuple[str, int]] = Counter()
    with asyncio.Runner() as runner:

        async def begin() -> World:
            world = World(Limits(), engine)
            world.engine.template = MARKED
            world.engine.load_adapter("poet", None, 1.0)  # type: ignore[arg-type]
            return world

        async def ask(path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
            # Closed by the server, so that a stream has an end without its being read as one.
            reader, writer = await world.send(post(body, "Connection: close", path=path))
            whole = await asyncio.wait_for(reader.read(), ANSWER_SECONDS)
            writer.close()
            return parsed(whole)

        @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
                  suppress_health_check=list(HealthCheck), derandomize=count < 1_000)  # fmt: skip
        @given(BODIES)
        def answers(asked: tuple[str, bytes]) -> None:
            path, raw = asked
            status, headers, body = runner.run(ask(path, raw))
            told[path, status] += 1
            judge(path, status, headers, body)

        world = runner.run(begin())
        answers()

        async def end() -> None:
            await world.is_empty()
            world.server.stop()
            await world.server.close_all_connections()

        runner.run(end())
    return told


def small_engine(folder: Path) -> ChatEngine:
    """The engine that serves, with a model of random weights."""
    threads.prepare()
    weights, adapters = make_tiny_model(folder / "weights"), folder / "adapters"
    flags = ["--weights", str(weights), "--adapters", str(adapters), "--torch_dtype", "float32"]
    return serve.load_engine(serve.parser().parse_args(flags))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--model", action="store_true", help="let a small model answer")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kaito-fuzz-") as folder:
        engine = small_engine(Path(folder)) if flags.model else None
        told = run(flags.count, engine)
        if engine:
            engine.stop()
    for (path, status), number in sorted(told.items()):
        print(f"{path:22} {status} {number:7}")
    faults = sum(number for (_, status), number in told.items() if status >= 500)
    print(f"{sum(told.values())} bodies, {faults} answers of 500 or more")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
