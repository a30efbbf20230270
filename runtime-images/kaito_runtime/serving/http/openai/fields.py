"""What the bodies of `/v1/chat/completions` and `/v1/completions` have in common.

The names are OpenAI's; those that it does not have are vLLM's, and two are llama.cpp's.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.json_body import (
    HALF_PAIRS,
    NotJsonError,
    has_half_pairs,
    parse_json,
    path_of,
    problem_of,
    unknown_key,
)

NAMES = {
    "greedy": "temperature",
    "structure": "response_format",
    "adapter": "model",
    "ids": "prompt",
}
"""Neutral parameters as these bodies call them, where the names differ."""

NO_EFFECT = frozenset(
    """
    user store metadata service_tier safety_identifier verbosity prediction moderation
    prompt_cache_key prompt_cache_retention prompt_cache_options cache_prompt add_special_tokens
    spaces_between_special_tokens priority request_id return_tokens_as_token_ids
    """.split()  # noqa: SIM905
)
"""Accepted and left alone: they change how others store, bill or schedule, not what is answered."""

Body = TypeVar("Body", bound="SharedFields")


def _stop_texts(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a text, or a list of texts")
    return texts


Stop = Annotated[
    list[str],
    BeforeValidator(_stop_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: bool = False
    """One more event, before the last, with the tokens that were used."""


class SharedFields(BaseModel):
    """Parameters of both bodies."""

    model: str | None = Field(None, description="A name from /v1/models; left out: the default.")
    stream: bool | None = Field(None, description="Answer as server-sent events.")
    stream_options: StreamOptions | None = Field(None, description="Only with stream.")
    max_tokens: int | None = Field(None, description="The most tokens to generate.")
    temperature: float | None = Field(
        None, description="0: the likeliest token. Left out: the model's own, else 1."
    )
    top_p: float | None = Field(
        None, description="Draw from the likeliest tokens of this probability together."
    )
    n: int | None = Field(None, description="How many answers, 1 to 32.")
    stop: Stop = Field([], description="Up to 16 texts that end the answer.")
    seed: int | None = Field(None, description="The same seed draws the same answer.")
    presence_penalty: float | None = Field(
        None, description="-2 to 2, subtracted once from tokens that the answer has."
    )
    frequency_penalty: float | None = Field(
        None, description="-2 to 2, subtracted each time that the answer has a token."
    )
    logit_bias: dict[int, float] | None = Field(
        None, description="Token id to -100 to 100, added to its logit."
    )
    top_k: int | None = Field(
        None, description="vLLM's. Draw from so many tokens; 0 or -1: from all."
    )
    min_p: float | None = Field(
        None, description="vLLM's. Leave out tokens below this share of the likeliest one."
    )
    repetition_penalty: float | None = Field(
        None, description="vLLM's. Above 1: tokens of prompt and answer become less likely."
    )
    repeat_penalty: float | None = Field(
        None, description="llama.cpp's name of repetition_penalty."
    )
    min_tokens: int | None = Field(None, description="vLLM's. The fewest tokens to generate.")
    n_predict: int | None = Field(None, description="llama.cpp's name of max_tokens.")
    ignore_eos: bool | None = Field(
        None, description="vLLM's. Go on to max_tokens where the model would end."
    )
    include_stop_str_in_output: bool | None = Field(
        None, description="vLLM's. Whether the text that ended the answer is part of it."
    )
    skip_special_tokens: bool | None = Field(
        None, description="vLLM's. False: special tokens are part of the text."
    )
    model_config = ConfigDict(extra="allow")

    def parameters(self, max_tokens: int | None) -> dict[str, Any]:
        """Return the neutral parameters that were given, by name."""
        given = {
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0 if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": _first(self.repetition_penalty, self.repeat_penalty),
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": self.logit_bias,
            "min_tokens": self.min_tokens,
            "ignore_eos": self.ignore_eos,
            "include_stop": self.include_stop_str_in_output,
            "seed": self.seed,
            "n": self.n,
        }
        return {
            "greedy": self.temperature == 0,
            "stop": tuple(self.stop),
            **{name: value for name, value in given.items() if value is not None},
        }

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the tokens that were used."""
        return self.stream_options is not None and self.stream_options.include_usage


Remedies = Mapping[str, tuple[tuple[Any, ...], str]]
"""Keys that are refused: the values with which they mean nothing, and what to do instead."""


def parse_body(kind: type[Body], body: bytes, refused: Remedies) -> Body:
    """Return the body; raises ApiError, which names the first field that is wrong."""
    try:
        content = parse_json(body)
    except NotJsonError as error:
        where = "" if error.position is None else f" at character {error.position}"
        raise invalid(
            "", f"the body must be JSON: it is not valid{where} ({error.problem})"
        ) from None
    if not isinstance(content, dict):
        raise invalid("", "the body must be a JSON object")
    if has_half_pairs(body, content):
        raise invalid("", HALF_PAIRS)
    try:
        parsed = kind.model_validate(content)
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        raise invalid(path_of(first["loc"]), problem_of(first)) from None
    for key, value in (parsed.model_extra or {}).items():
        if key in refused:
            means_nothing, remedy = refused[key]
            if value is not None and value not in means_nothing:
                raise invalid(key, f"is not supported; {remedy}", "unsupported_parameter")
        elif key not in NO_EFFECT:
            message = unknown_key(key, kind.model_fields, "the body")
            raise ApiError(HTTPStatus.BAD_REQUEST, message, key[:80], "unknown_parameter")
    if parsed.stream_options is not None and not parsed.stream:
        raise invalid("stream_options", "must be left out, or stream must be true")
    return parsed


def invalid(field: str, problem: str, code: str = "invalid_value") -> ApiError:
    """Return the refusal of a field."""
    return ApiError(HTTPStatus.BAD_REQUEST, f"{field} {problem}".strip(), field, code)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
