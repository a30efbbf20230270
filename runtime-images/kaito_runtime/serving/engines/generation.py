"""What a request may ask of transformers' generate(), and which requests may share a batch.

Here are the limits that protect the others: values with which generate() does not say no, but takes
the node's memory, or reads beyond a tensor's end, after which CUDA computes nothing more for anyone.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from kaito_runtime.serving.sampling import RequestRefusedError

ROW_LIMIT = 32
"""Rows that are generated at once, of one request or of many: each needs a cache of its own."""
STOP_STRINGS_LIMIT = 16
STOP_STRING_LIMIT_CHARACTERS = 256
"""transformers compares every token of the vocabulary with every position of a stop string."""
LOWEST_TEMPERATURE = 1e-3
"""Below, logits divided by it are infinite and no probability is a number."""

_LENGTHS = ("max_length", "max_new_tokens")
# What makes rows depend on more than their own length limit: such a request runs alone.
_ALONE = frozenset(
    {"num_return_sequences", "min_length", "min_new_tokens", "max_time", "num_beams"}
)
_ALONE_NEUTRAL = {"num_return_sequences": 1, "num_beams": 1, "min_length": 0, "min_new_tokens": 0}
_ROWS = ("num_return_sequences", "num_beams")
_TOKENS = (
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


def shared(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all rows of a batch have in common: everything but their lengths."""
    return {key: value for key, value in generation.items() if key not in _LENGTHS}


def settings(generation: Mapping[str, Any]) -> str:
    """Return what is equal for requests that can share a batch."""
    try:
        return json.dumps(shared(generation), sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise RequestRefusedError("generate_kwargs must be plain JSON") from None


def runs_alone(generation: Mapping[str, Any]) -> bool:
    """Return true if the request can't share a batch."""
    return any(generation.get(key) not in (None, _ALONE_NEUTRAL.get(key)) for key in _ALONE)


def refuse_unsafe(generation: Mapping[str, Any], vocabulary: int) -> None:
    """Raise RequestRefusedError for values that would harm more than this request.

    `vocabulary` is the number of tokens that the model knows.
    """
    for key in _ROWS:
        value = generation.get(key)
        if value is not None and not _is_between(1, value, ROW_LIMIT):
            raise _refused(key, f"must be a number from 1 to {ROW_LIMIT}", value)
    for key in _TOKENS:
        value = generation.get(key)
        tokens = value if isinstance(value, list) else [value]
        for token in tokens if value is not None else []:
            if not _is_between(0, token, vocabulary - 1):
                raise _refused(key, f"must be a token from 0 to {vocabulary - 1}", token)
    temperature = generation.get("temperature")
    if isinstance(temperature, int | float) and 0 < temperature < LOWEST_TEMPERATURE:
        raise _refused(
            "temperature",
            f"must be at least {LOWEST_TEMPERATURE}; for the likeliest words write "
            '"do_sample": false',
            temperature,
        )
    for key, value in generation.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _refused(key, "must be a finite number", value)
    if generation.get("stop_strings") is not None:
        _refuse_strange_stop_strings(generation["stop_strings"])


def _refuse_strange_stop_strings(value: Any) -> None:
    strings = value if isinstance(value, list) else [value]
    if len(strings) > STOP_STRINGS_LIMIT or not all(
        isinstance(each, str) and len(each) <= STOP_STRING_LIMIT_CHARACTERS for each in strings
    ):
        raise RequestRefusedError(
            f"generate_kwargs.stop_strings must be at most {STOP_STRINGS_LIMIT} texts of at most "
            f"{STOP_STRING_LIMIT_CHARACTERS} characters"
        )


def _refused(key: str, must: str, value: Any) -> RequestRefusedError:
    return RequestRefusedError(f"generate_kwargs.{key} {must}, found {json.dumps(value)[:40]}")


def _is_between(least: int, value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
