"""The body of `POST /chat`: Kaito v0.3.0's schema, its defaults and its error texts; and
`chat_template`, which is ours.

Kaito answers a schema error with 422 and pydantic's list of errors; clients read `detail`.
"""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from kaito_runtime.serving.engine import ChatRequest

PIPELINES = ("text-generation", "conversational")
PROMPT_REQUIRED = "Text generation parameter prompt required"
MESSAGES_REQUIRED = "Conversational parameter messages required"

Path = list[str | int]

DEFAULTS: dict[str, Any] = {
    "max_length": 200,
    "min_length": 0,
    "do_sample": True,
    "early_stopping": False,
    "num_beams": 1,
    "temperature": 1.0,
    "top_k": 10,
    "top_p": 1,
    "typical_p": 1,
    "repetition_penalty": 1,
}
"""Of `generate_kwargs`, when the object is there or left out; none apply when it is null."""

# What generate() of current releases takes. Kaito hands on any key; those that load code or change
# the process (custom_generate, compile_config, ...) are not for clients.
_PASSED_ON = frozenset(
    """
    max_length max_new_tokens min_length min_new_tokens early_stopping max_time stop_strings
    do_sample num_beams temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff
    repetition_penalty encoder_repetition_penalty length_penalty no_repeat_ngram_size bad_words_ids
    renormalize_logits forced_bos_token_id forced_eos_token_id remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens sequence_bias
    token_healing guidance_scale num_return_sequences pad_token_id bos_token_id eos_token_id
    use_cache
    """.split()  # noqa: SIM905
)
# Arguments of earlier releases that clients still send with the value that means "off".
_OFF = {
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


class SchemaError(Exception):
    """The body does not have the schema: 422."""

    def __init__(self, kind: str, path: Path, message: str, value: Any, **context: Any):
        super().__init__(message)
        self.detail = [
            {"type": kind, "loc": ["body", *path], "msg": message, "input": value}
            | ({"ctx": context} if context else {})
        ]


class BadRequestError(Exception):
    """The body has the schema and can't be answered: 400."""


def parse_chat(body: bytes, pipeline: str) -> ChatRequest:
    """Return the request in a body."""
    content = _json(body)
    if not isinstance(content, dict):
        raise _no_object([], content)
    text = {key: _optional(content, key, _string) for key in ("prompt", "prefix")}
    long_prompt = _optional(content, "handle_long_generation", _string)
    clean = _optional(content, "clean_up_tokenization_spaces", _boolean)
    full = _optional(content, "return_full_text", _boolean)
    as_message = _optional(content, "chat_template", _boolean)
    messages = _messages(content)
    generation = _generation(content)
    if long_prompt not in (None, "hole"):
        raise BadRequestError(f'handle_long_generation must be "hole", found "{long_prompt}"')
    if pipeline == "conversational":
        if not messages:
            raise BadRequestError(MESSAGES_REQUIRED)
        return ChatRequest(messages=messages, generation=generation)
    if not text["prompt"]:
        raise BadRequestError(PROMPT_REQUIRED)
    return ChatRequest(
        prompt=text["prompt"],
        prefix=text["prefix"] or "",
        chat_template=as_message,
        return_full_text=True if full is None else full,
        clean_up_tokenization_spaces=bool(clean),
        cut_long_prompt=long_prompt == "hole",
        generation=generation,
    )


def _json(body: bytes) -> Any:
    if not body.strip():
        raise SchemaError("missing", [], "Field required", None)
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise SchemaError(
            "json_invalid", [error.pos], "JSON decode error", {}, error=error.msg
        ) from None
    except UnicodeDecodeError:
        raise BadRequestError("There was an error parsing the body") from None


def _optional(content: Mapping[str, Any], key: str, check: Callable[[Path, Any], Any]) -> Any:
    value = content.get(key)
    return None if value is None else check([key], value)


def _messages(content: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    value = content.get("messages")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise SchemaError("list_type", ["messages"], "Input should be a valid list", value)
    found = []
    for number, message in enumerate(value):
        path: Path = ["messages", number]
        if not isinstance(message, dict):
            raise _no_object(path, message)
        for key in ("role", "content"):
            if key not in message:
                raise SchemaError("missing", [*path, key], "Field required", message)
            _string([*path, key], message[key])
        found.append({"role": message["role"], "content": message["content"]})
    return tuple(found)


def _generation(content: Mapping[str, Any]) -> dict[str, Any]:
    given = content.get("generate_kwargs", {})
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _no_object(["generate_kwargs"], given)
    chosen = dict(DEFAULTS)
    if given.get("max_new_tokens") is not None:
        del chosen["max_length"]  # generate() takes one of the two
    for key, value in given.items():
        chosen.pop(key, None)
        if key in _OFF:
            if value not in (None, _OFF[key]):
                raise BadRequestError(f"generate_kwargs.{key} is not supported; leave it out")
            continue
        if key not in _PASSED_ON:
            close = difflib.get_close_matches(key, _PASSED_ON, n=1, cutoff=0)
            raise BadRequestError(
                f'generate_kwargs has the unknown key "{key}"; did you mean "{close[0]}"?'
            )
        if value is not None:  # null stands for the library's default
            chosen[key] = _typed(["generate_kwargs", key], DEFAULTS.get(key), value)
    return chosen


def _typed(path: Path, default: Any, value: Any) -> Any:
    if isinstance(default, bool):
        return _boolean(path, value)
    if path[-1] in ("max_length", "min_length", "num_beams", "top_k", "max_new_tokens"):
        return _integer(path, value)
    return value if default is None else _number(path, value)


def _string(path: Path, value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaError("string_type", path, "Input should be a valid string", value)
    return value


def _boolean(path: Path, value: Any) -> bool:
    # pydantic's lax mode, as Kaito's models have it
    words = {"true": True, "false": False, "1": True, "0": False, "on": True, "off": False,
             "yes": True, "no": False, "t": True, "f": False, "y": True, "n": False}  # fmt: skip
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        found = words.get(str(value).lower())
        if found is not None:
            return found
        raise SchemaError(
            "bool_parsing",
            path,
            "Input should be a valid boolean, unable to interpret input",
            value,
        )
    raise SchemaError("bool_type", path, "Input should be a valid boolean", value)


def _integer(path: Path, value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise SchemaError(
                "int_parsing",
                path,
                "Input should be a valid integer, unable to parse string as an integer",
                value,
            ) from None
    if isinstance(value, float) and not value.is_integer():
        message = "Input should be a valid integer, got a number with a fractional part"
        raise SchemaError("int_from_float", path, message, value)
    if not isinstance(value, int | float):
        raise SchemaError("int_type", path, "Input should be a valid integer", value)
    return int(value)


def _number(path: Path, value: Any) -> float:
    try:
        return float(value)
    except ValueError:
        raise SchemaError(
            "float_parsing",
            path,
            "Input should be a valid number, unable to parse string as a number",
            value,
        ) from None
    except TypeError:
        raise SchemaError("float_type", path, "Input should be a valid number", value) from None


def _no_object(path: Path, value: Any) -> SchemaError:
    message = "Input should be a valid dictionary or object to extract fields from"
    return SchemaError("model_attributes_type", path, message, value)
