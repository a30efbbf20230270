"""From a request's sampling to how its tokens are chosen, with the model's own defaults filled in."""

from dataclasses import dataclass
from typing import Any

from kaito_runtime.serving.engines.rows import Choice
from kaito_runtime.serving.sampling import RequestRefusedError, Sampling


@dataclass(frozen=True)
class ModelDefaults:
    """What generation_config.json says."""

    is_greedy: bool = True
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer."""


def model_defaults(config: Any) -> ModelDefaults:
    """Return the defaults in a model's GenerationConfig; transformers' where it names none."""
    ends = getattr(config, "eos_token_id", None)
    found = [] if ends is None else ends if isinstance(ends, list) else [ends]

    def value(name: str, neutral: float) -> float:
        given = getattr(config, name, None)
        return neutral if given is None else given

    return ModelDefaults(
        is_greedy=not getattr(config, "do_sample", False),
        temperature=value("temperature", 1.0),
        top_k=int(value("top_k", 50)),
        top_p=value("top_p", 1.0),
        min_p=value("min_p", 0.0),
        repetition_penalty=value("repetition_penalty", 1.0),
        ends=frozenset(map(int, found)),
    )


def choice_of(
    sampling: Sampling, defaults: ModelDefaults, *, prompt: int, most: int, vocabulary: int
) -> Choice:
    """Return how the tokens of a request are chosen.

    Args:
        sampling: What the request asks for.
        defaults: What the model says where it asks for nothing.
        prompt: Tokens of the prompt.
        most: Tokens of prompt and answer that there is room for.
        vocabulary: Tokens that the model knows.

    Raises:
        RequestRefusedError: for a length or a token that is not possible.
    """
    for token in sampling.logit_bias:
        if token >= vocabulary:
            raise RequestRefusedError(
                f"must have token ids from 0 to {vocabulary - 1}, found {token}", "logit_bias"
            )
    max_tokens = _max_tokens(sampling, prompt, most - prompt)
    min_tokens = max(sampling.min_tokens, sampling.min_total_tokens - prompt, 0)
    is_greedy = defaults.is_greedy if sampling.greedy is None else sampling.greedy
    temperature = _or(sampling.temperature, defaults.temperature)
    return Choice(
        temperature=0.0 if is_greedy else float(temperature),
        top_k=min(int(_or(sampling.top_k, defaults.top_k)), vocabulary),
        top_p=float(_or(sampling.top_p, defaults.top_p)),
        min_p=float(_or(sampling.min_p, defaults.min_p)),
        repetition_penalty=float(_or(sampling.repetition_penalty, defaults.repetition_penalty)),
        presence_penalty=float(sampling.presence_penalty),
        frequency_penalty=float(sampling.frequency_penalty),
        logit_bias=sampling.logit_bias,
        logprobs=sampling.logprobs,
        seed=sampling.seed,
        min_tokens=min(min_tokens, max_tokens),
        max_tokens=max_tokens,
        ends=_ends(sampling, defaults),
    )


def _max_tokens(sampling: Sampling, prompt: int, room: int) -> int:
    """Return the most tokens to generate; `max_total_tokens` counts the prompt."""
    if sampling.max_tokens is not None:
        return min(sampling.max_tokens, room)
    if sampling.max_total_tokens is None:
        return room
    left = sampling.max_total_tokens - prompt
    if left < 1:
        raise RequestRefusedError(
            f"must be more than the prompt's {prompt} tokens, found {sampling.max_total_tokens}",
            "max_total_tokens",
        )
    return min(left, room)


def _ends(sampling: Sampling, defaults: ModelDefaults) -> frozenset[int]:
    if sampling.ignore_eos:
        return frozenset()
    given = sampling.search.get("eos_token_id")
    if given is None:
        return defaults.ends
    return frozenset(given if isinstance(given, list) else [given])


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
