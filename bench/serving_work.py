"""What the clients of `make bench-serving` ask: the same prompts of every server, in the words of its API."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.chat_load import Question

TOKENS = 64
LENGTHS = (8, 32, 128)
_NOUNS = [
    "harbour",
    "bridge",
    "station",
    "mill",
    "garden",
    "library",
    "market",
    "tower",
    "river",
    "forest",
]
_ASKED = "Where is the {} of the town, and what does it look like in the rain ({})?"


@dataclass(frozen=True)
class Work:
    """A row of the table."""

    name: str
    sampling: Callable[[int], Mapping[str, Any]]
    """Parameters of a request by its number, by OpenAI's and vLLM's names."""
    prompt: Callable[[int], str]
    tokens: Callable[[int], int]
    streams: bool = False
    models: Sequence[str] = ("base",)
    """What the requests name in turn."""


def short(number: int) -> str:
    return _ASKED.format(_NOUNS[number % len(_NOUNS)], number)


def long(number: int) -> str:
    """About 200 words, of which no two prompts share the beginning."""
    chance = random.Random(number)
    return " ".join(chance.choice(_NOUNS) for _ in range(190)) + " " + short(number)


def _own(number: int) -> dict[str, Any]:
    return {
        "temperature": 0.5 + number % 32 / 40,
        "top_k": 5 + number % 32,
        "top_p": 0.8 + 0.005 * (number % 32),
        "repetition_penalty": 1.0 + 0.01 * (number % 32),
        "seed": number,
        "min_tokens": TOKENS,
    }


def _fixed(_number: int) -> int:
    return TOKENS


def _mixed(number: int) -> int:
    return random.Random(number).choice(LENGTHS)


EQUAL = Work("equal settings", lambda _: {"temperature": 0, "ignore_eos": True}, short, _fixed)
LEAST = Work("min_new_tokens", lambda _: {"temperature": 0, "min_tokens": TOKENS}, short, _fixed)
OWN = Work("each its own settings", _own, short, _fixed)
LONG = Work("200-word prompts", EQUAL.sampling, long, _fixed)
MIXED = Work("mixed lengths, streamed", EQUAL.sampling, short, _mixed, streams=True)
ADAPTERS = Work(
    "four adapters", EQUAL.sampling, short, _fixed, models=("first", "second", "third", "fourth")
)
WORKS = (EQUAL, LEAST, OWN, LONG, MIXED, ADAPTERS)

# Parameters of /v1/completions that transformers' generate() calls otherwise.
_OF_GENERATE = {"min_tokens": "min_new_tokens", "max_tokens": "max_new_tokens"}
_NOT_OF_GENERATE = {"ignore_eos", "seed"}


def completion(work: Work, number: int) -> Question:
    """The request by OpenAI's API."""
    tokens = work.tokens(number)
    body = {
        "model": work.models[number % len(work.models)],
        "prompt": work.prompt(number),
        "max_tokens": tokens,
        **work.sampling(number),
    }
    if work.streams:
        body["stream"] = True
    return Question("/v1/completions", body, tokens)


def chat(work: Work, number: int) -> Question:
    """The request by Kaito's API."""
    tokens = work.tokens(number)
    given = {"max_tokens": tokens, "min_tokens": tokens, **work.sampling(number)}
    kwargs = {
        _OF_GENERATE.get(key, key): value
        for key, value in given.items()
        if key not in _NOT_OF_GENERATE
    }
    kwargs["do_sample"] = kwargs["temperature"] > 0
    if not kwargs["do_sample"]:
        del kwargs["temperature"]
    return Question("/chat", {"prompt": work.prompt(number), "generate_kwargs": kwargs}, tokens)
