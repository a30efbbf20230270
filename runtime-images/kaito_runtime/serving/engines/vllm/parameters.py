"""From how tokens are chosen to the arguments of vLLM's SamplingParams."""

from collections.abc import Mapping
from typing import Any

from kaito_runtime.serving.engine import TokenLogprob
from kaito_runtime.serving.engines.detokenizer import Texts
from kaito_runtime.serving.engines.rows import Row
from kaito_runtime.serving.engines.structure import schema_of
from kaito_runtime.serving.sampling import RequestRefusedError, Sampling

HIGHEST_TEMPERATURE = 2.0
"""vLLM refuses more."""
_LOWEST_SHARE = 1e-9
"""vLLM refuses a `top_p` of 0, which means the likeliest token alone."""
_SEEDS = 1 << 63
"""vLLM reads -1 as no seed."""
_AT_THE_END = 1 << 30
"""Tokens between two outputs, after the first."""


def check(sampling: Sampling) -> None:
    """Raise RequestRefusedError for what vLLM can't do."""
    for key in sampling.search:
        if key != "eos_token_id":
            raise RequestRefusedError(
                "is not possible with vLLM; leave it out, or serve with the transformers engine",
                key,
            )
    if sampling.temperature is not None and sampling.temperature > HIGHEST_TEMPERATURE:
        raise RequestRefusedError(
            f"must be at most {HIGHEST_TEMPERATURE:g} with vLLM, found {sampling.temperature:g}",
            "temperature",
        )


def arguments_of(row: Row) -> dict[str, Any]:
    """Return the arguments for one sequence; `structured_outputs` is those of StructuredOutputsParams.

    Texts are made and searched for stop texts here, by the sequence itself, so vLLM handles tokens alone.
    """
    job, choice = row.job, row.job.choice
    needs_each = job.request.streams or bool(job.request.sampling.stop) or job.deadline is not None
    arguments: dict[str, Any] = {
        "temperature": choice.temperature,
        "top_k": choice.top_k,
        "top_p": max(choice.top_p, _LOWEST_SHARE),
        "min_p": choice.min_p,
        "repetition_penalty": choice.repetition_penalty,
        "presence_penalty": choice.presence_penalty,
        "frequency_penalty": choice.frequency_penalty,
        "logit_bias": dict(choice.logit_bias) or None,
        "logprobs": choice.logprobs,
        "max_tokens": choice.max_tokens,
        "min_tokens": choice.min_tokens,
        "stop_token_ids": sorted(choice.ends),
        "ignore_eos": True,  # the ends of the model are among stop_token_ids
        "detokenize": False,
        "stream_interval": 1 if needs_each else _AT_THE_END,
    }
    if choice.seed is not None:
        arguments["seed"] = (choice.seed + row.index) % _SEEDS
    structure = job.request.sampling.structure
    if structure is not None:
        arguments["structured_outputs"] = {"json": schema_of(structure)}
    return arguments


def logprobs_of(
    token: int, found: Mapping[int, Any] | None, count: int | None, texts: Texts
) -> tuple[TokenLogprob, ...]:
    """Return the log probability of a token with its alternatives, from vLLM's (`logprob`, `rank`)."""
    if not found or count is None:
        return ()
    ranked = sorted(found.items(), key=lambda item: item[1].rank)[:count]
    alternatives = tuple(TokenLogprob(texts(each), each, value.logprob) for each, value in ranked)
    return (TokenLogprob(texts(token), token, found[token].logprob, alternatives),)
