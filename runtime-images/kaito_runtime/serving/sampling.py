"""How the next token is chosen: one set of parameters for all APIs and all engines, and their limits.

What is None is the model's own default (its generation_config.json), then the neutral value that is
named here. The limits protect the others: beyond them a request would not fail, but take the node's
memory or the time of everyone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SEQUENCES_LIMIT = 32
"""Sequences, or beams, of one request: each needs a cache of its own."""
STOP_LIMIT = 16
STOP_LIMIT_CHARACTERS = 256
LOGPROBS_LIMIT = 20
"""As OpenAI's `top_logprobs`."""
LOGIT_BIAS_LIMIT = 1024
LOWEST_TEMPERATURE = 1e-3
"""Below, logits divided by it are infinite and no probability is a number."""
SEED_BITS = 64


class RequestRefusedError(Exception):
    """The request can't be answered as it stands.

    `field` is the neutral name of the parameter (of Sampling, or `prompt`, `messages`, `adapter`), or
    empty; `problem` says what it must be: "must be at least 1, found 0".
    """

    def __init__(self, problem: str, field: str = ""):
        super().__init__(f"{field} {problem}" if field else problem)
        self.problem = problem
        self.field = field


@dataclass(frozen=True, slots=True)
class JsonStructure:
    """The answer must be JSON; of this schema, where there is one."""

    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of one request; see the OpenAI and vLLM references for those of the same name."""

    max_tokens: int | None = None
    """The most tokens to generate; None is what the context leaves."""
    max_total_tokens: int | None = None
    """The same with the prompt counted in; transformers' `max_length`."""
    min_tokens: int = 0
    min_total_tokens: int = 0
    greedy: bool | None = None
    """Whether the likeliest token is taken, instead of one drawn at random."""
    temperature: float | None = None
    top_k: int | None = None
    """0: all tokens."""
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    """Of prompt and answer (Keskar et al. 2019, arXiv:1909.05858); 1 is none."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token that the answer has already."""
    frequency_penalty: float = 0.0
    """The same, as often as it is there."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id to what is added to its logit."""
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    """Whether the text that ended the answer is part of it."""
    ignore_eos: bool = False
    seed: int | None = None
    logprobs: int | None = None
    """For each token its log probability, and those of so many likeliest ones; before all of the above."""
    n: int = 1
    max_seconds: float | None = None
    structure: JsonStructure | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of transformers' generate() that have no name here, such as num_beams."""

    def check(self) -> None:
        """Raise RequestRefusedError for a value outside its limits."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise RequestRefusedError("must be a finite number", each.name)
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise RequestRefusedError(f"{_between(least, most)}, found {_short(value)}", name)
        if self.temperature and self.temperature < LOWEST_TEMPERATURE:
            raise RequestRefusedError(
                f"must be 0 or at least {LOWEST_TEMPERATURE}, found {self.temperature}",
                "temperature",
            )
        self._check_stop()
        if len(self.logit_bias) > LOGIT_BIAS_LIMIT:
            raise RequestRefusedError(f"must have at most {LOGIT_BIAS_LIMIT} tokens", "logit_bias")
        for token, bias in self.logit_bias.items():
            if token < 0 or not math.isfinite(bias) or abs(bias) > 100:
                raise RequestRefusedError(
                    f"must have token ids with numbers from -100 to 100, found {token}: {bias}",
                    "logit_bias",
                )

    def _check_stop(self) -> None:
        texts = self.stop
        if len(texts) > STOP_LIMIT or not all(0 < len(t) <= STOP_LIMIT_CHARACTERS for t in texts):
            raise RequestRefusedError(
                f"must be at most {STOP_LIMIT} texts of 1 to {STOP_LIMIT_CHARACTERS} characters",
                "stop",
            )


_ANY = 1 << 53
_LIMITS: dict[str, tuple[float, float]] = {
    "max_tokens": (1, _ANY),
    "max_total_tokens": (1, _ANY),
    "min_tokens": (0, _ANY),
    "min_total_tokens": (0, _ANY),
    "temperature": (0, 100),
    "top_k": (0, _ANY),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "seed": (-(1 << (SEED_BITS - 1)), (1 << SEED_BITS) - 1),
    "logprobs": (0, LOGPROBS_LIMIT),
    "n": (1, SEQUENCES_LIMIT),
    "max_seconds": (0, _ANY),
}


def _between(least: float, most: float) -> str:
    if most == _ANY:
        return f"must be at least {least:g}"
    return f"must be a number from {least:g} to {most:g}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
