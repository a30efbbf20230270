"""`generate_kwargs` of `POST /chat`: arguments of transformers' generate(), as Kaito v0.3.0 takes them."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from kaito_runtime.serving.sampling import SEQUENCES_LIMIT, RequestRefusedError, Sampling

WHERE = "generate_kwargs"
DEFAULT_NEW_TOKENS = 20
"""transformers' own, where no length is given."""


class GenerateKwargs(BaseModel):
    """Kaito's defaults, when the object is there or left out; none apply when it is null."""

    # null stands for the library's default.
    max_length: int | None = 200
    min_length: int | None = 0
    do_sample: bool | None = True
    early_stopping: bool | str | None = False
    num_beams: int | None = 1
    temperature: float | None = 1.0
    top_k: int | None = 10
    top_p: float | None = 1
    typical_p: float | None = 1
    repetition_penalty: float | None = 1
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    min_p: float | None = None
    max_time: float | None = None
    stop_strings: str | list[str] | None = None
    num_return_sequences: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    use_cache: bool | None = None
    top_h: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    encoder_repetition_penalty: float | None = None
    length_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    renormalize_logits: bool | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    remove_invalid_values: bool | None = None
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    sequence_bias: list[tuple[list[int], float]] | None = None
    token_healing: bool | None = None
    guidance_scale: float | None = None
    # Not arguments of generate(): the same as in /v1.
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    model_config = ConfigDict(extra="allow")


NEUTRAL = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_total_tokens",
    "min_new_tokens": "min_tokens",
    "min_length": "min_total_tokens",
    "do_sample": "greedy",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "logit_bias": "logit_bias",
    "stop_strings": "stop",
    "num_return_sequences": "n",
    "max_time": "max_seconds",
    "seed": "seed",
}
"""Keys with a neutral parameter of their own."""

NO_EFFECT = frozenset({"pad_token_id", "bos_token_id", "use_cache"})
"""Padding and caches are the engine's, and a prompt begins as its tokenizer says."""

# The values with which an argument changes nothing, and which every engine can therefore serve.
_NEUTRAL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "early_stopping": (False,),
    "typical_p": (1,),
    "top_h": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "encoder_repetition_penalty": (1,),
    "length_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "bad_words_ids": ([],),
    "renormalize_logits": (False,),
    "remove_invalid_values": (False,),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ([],),
    "token_healing": (False,),
    "guidance_scale": (1,),
}
_LIMITS: Mapping[str, tuple[int, int]] = {
    "num_beams": (1, SEQUENCES_LIMIT),
    "no_repeat_ngram_size": (0, 1 << 31),
}
# Arguments of earlier releases that clients still send with the value that means "off".
_FORMER: Mapping[str, Any] = {
    "num_beam_groups": 1,
    "diversity_penalty": 0,
    "encoder_no_repeat_ngram_size": 0,
    "penalty_alpha": 0,
    "low_memory": False,
    "output_scores": False,
    "output_logits": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict_in_generate": False,
    "decoder_start_token_id": None,
    "forced_decoder_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "dola_layers": None,
}
KEYS = frozenset(GenerateKwargs.model_fields)
"""What can be given; what loads code or changes the process (custom_generate, compile_config) is not
for clients."""


def unknown_keys(kwargs: GenerateKwargs) -> list[str]:
    """Return the keys that nothing is known of; raises RequestRefusedError for former ones in use."""
    extra = kwargs.model_extra or {}
    for key, value in extra.items():
        if key in _FORMER and value not in (None, _FORMER[key]):
            raise RequestRefusedError("is not supported; leave it out", f"{WHERE}.{key}")
    return [key for key in extra if key not in _FORMER]


def sampling_of(kwargs: GenerateKwargs | None) -> Sampling:
    """Return the neutral parameters; raises RequestRefusedError for a value outside its limits."""
    if kwargs is None:
        return Sampling(max_tokens=DEFAULT_NEW_TOKENS)
    given = {key: value for key in KEYS if (value := getattr(kwargs, key)) is not None}
    neutral: dict[str, Any] = {name: given[key] for key, name in NEUTRAL.items() if key in given}
    if "do_sample" in given:
        neutral["greedy"] = not given["do_sample"]
    if "stop_strings" in given:
        texts = given["stop_strings"]
        neutral["stop"] = (texts,) if isinstance(texts, str) else tuple(texts)
        neutral["include_stop"] = True
    if "max_tokens" in neutral:  # generate() prefers it, whatever the other says
        neutral.pop("max_total_tokens", None)
    elif "max_total_tokens" not in neutral:
        neutral["max_tokens"] = DEFAULT_NEW_TOKENS
    search = {key: value for key, value in given.items() if _is_search(key, value)}
    _check(search)
    return Sampling(**neutral, search=search)


def _is_search(key: str, value: Any) -> bool:
    return key not in NEUTRAL and key not in NO_EFFECT and value not in _NEUTRAL_VALUES.get(key, ())


def _check(search: Mapping[str, Any]) -> None:
    for key, value in search.items():
        least, most = _LIMITS.get(key, (-math.inf, math.inf))
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestRefusedError("must be a finite number", f"{WHERE}.{key}")
        if key in _LIMITS and not least <= value <= most:
            raise RequestRefusedError(
                f"must be a number from {least} to {most}, found {value}", f"{WHERE}.{key}"
            )
