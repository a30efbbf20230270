"""The body of `POST /v1/completions`."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from kaito_runtime.serving.engine import GenerationRequest, Prompt
from kaito_runtime.serving.http.openai.fields import (
    Remedies,
    SharedFields,
    invalid,
    parse_body,
)
from kaito_runtime.serving.sampling import SEQUENCES_LIMIT, Sampling

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""
_PROMPT = (
    "must be a text, a list of texts, a list of token ids, or a list of such lists, and not empty"
)

REFUSED: Remedies = {
    "best_of": ((1,), "write n, and choose yourself"),
    "suffix": (("",), "this server writes no text between two others"),
    "use_beam_search": ((False,), "POST /chat has num_beams"),
    "stop_token_ids": (([],), "write stop"),
    "response_format": (({"type": "text"},), "POST /v1/chat/completions has it"),
    "guided_json": ((), "POST /v1/chat/completions has response_format"),
    "structured_outputs": ((), "POST /v1/chat/completions has response_format"),
    "grammar": (("",), "POST /v1/chat/completions has response_format"),
    "prompt_logprobs": ((), "leave it out"),
    "truncate_prompt_tokens": ((), "write a shorter prompt"),
}

OnePrompt = str | tuple[int, ...]


def _prompts(value: Any) -> list[OnePrompt]:
    """Return prompts as texts or token ids; raises ValueError."""
    prompts = [value] if isinstance(value, str) or _are_ids(value) else value
    if not isinstance(prompts, list) or not prompts:
        raise ValueError(_PROMPT)
    if not all(_are_ids(each) if isinstance(each, list) else _is_text(each) for each in prompts):
        raise ValueError(_PROMPT)
    return [tuple(each) if isinstance(each, list) else each for each in prompts]


def _are_ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 1 << 31
            for each in value
        )
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


class CompletionRequestBody(SharedFields):
    """The body as clients write it."""

    prompt: Annotated[
        list[OnePrompt],
        BeforeValidator(_prompts),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "array", "items": {"type": "integer"}},
                    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                ]
            }
        ),
    ] = Field(description="What is continued: text, token ids, or a list of either.")
    echo: bool | None = Field(None, description="Each text begins with its prompt.")
    logprobs: int | None = Field(
        None, ge=0, le=20, description="Log probabilities, and so many likeliest tokens."
    )


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What a body asks for: a request for each prompt."""

    body: CompletionRequestBody
    requests: Sequence[GenerationRequest]
    """Their adapter is the name that the client wrote."""
    shown: Sequence[str]
    """The text before each answer (`echo`)."""


def parse_completion_request(raw: bytes) -> CompletionRequest:
    """Return what a body asks for; raises ApiError, RequestRefusedError."""
    body = parse_body(CompletionRequestBody, raw, REFUSED)
    prompts, n = body.prompt, 1 if body.n is None else body.n
    if len(prompts) > 1 and len(prompts) * n > SEQUENCES_LIMIT:
        raise invalid(
            "prompt",
            f"must be at most {SEQUENCES_LIMIT} prompts times n, found {len(prompts)} times {n}",
        )
    if body.echo and body.logprobs is not None:
        raise invalid("echo", "must be false where logprobs is given: prompts have none here")
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise invalid("echo", "must be false where prompt is token ids; write it as text")
    limits = (body.max_tokens, body.n_predict, DEFAULT_MAX_TOKENS)
    sampling = Sampling(
        **body.parameters(next(each for each in limits if each is not None)),
        logprobs=body.logprobs,
    )
    requests = [
        GenerationRequest(
            id=f"cmpl-{uuid.uuid4().hex}",
            # Text to continue, whatever the adapter was tuned on: conversations have a route.
            prompt=Prompt(text=prompt, is_message=False)
            if isinstance(prompt, str)
            else Prompt(ids=prompt),
            sampling=sampling,
            adapter=body.model,
            skip_special_tokens=body.skip_special_tokens is not False,
            streams=bool(body.stream),
        )
        for prompt in prompts
    ]
    shown = [prompt if body.echo and isinstance(prompt, str) else "" for prompt in prompts]
    return CompletionRequest(body, requests, shown)
