"""The body of `POST /chat`: Kaito v0.3.0's schema, its defaults and its error texts; and
`chat_template`, which is ours.

Kaito answers a schema error with 422 and pydantic's list of errors; clients read `detail`.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from kaito_runtime.models.rendering import Message
from kaito_runtime.serving.batch_engine import ChatRequest

PIPELINES = ("text-generation", "conversational")
PROMPT_REQUIRED = "Text generation parameter prompt required"
MESSAGES_REQUIRED = "Conversational parameter messages required"


class GenerateKwargs(BaseModel):
    """Kaito's defaults, when the object is there or left out; none apply when it is null."""

    # null stands for the library's default.
    max_length: int | None = 200
    min_length: int | None = 0
    do_sample: bool | None = True
    early_stopping: bool | None = False
    num_beams: int | None = 1
    temperature: float | None = 1.0
    top_k: int | None = 10
    top_p: float | None = 1
    typical_p: float | None = 1
    repetition_penalty: float | None = 1
    max_new_tokens: int | None = None
    model_config = ConfigDict(extra="allow")


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str


class ChatBody(BaseModel):
    """The body as clients write it."""

    prompt: str | None = None
    return_full_text: bool | None = True
    clean_up_tokenization_spaces: bool | None = False
    prefix: str | None = None
    handle_long_generation: str | None = None
    chat_template: bool | None = None
    generate_kwargs: GenerateKwargs | None = GenerateKwargs()
    messages: list[ChatMessage] | None = None


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
    """The body does not have the schema: 422, with FastAPI's list of what is wrong where."""

    def __init__(self, errors: Iterable[Mapping[str, Any]]):
        super().__init__()
        self.detail = [{**error, "loc": ["body", *error["loc"]]} for error in errors]


class BadRequestError(Exception):
    """The body has the schema and can't be answered: 400."""


def parse_chat(body: bytes, pipeline: str) -> ChatRequest:
    """Return the request in a body.

    Raises:
        SchemaError: a value has another type.
        BadRequestError: a value is not supported, or what the pipeline needs is missing.
    """
    try:
        chat = ChatBody.model_validate(_json(body), from_attributes=True)
    except ValidationError as error:
        raise SchemaError(cast(Any, error.errors(include_url=False))) from None
    generation = _generation(chat.generate_kwargs)
    if chat.handle_long_generation not in (None, "hole"):
        raise BadRequestError(
            f'handle_long_generation must be "hole", found "{chat.handle_long_generation}"'
        )
    if pipeline == "conversational":
        if not chat.messages:
            raise BadRequestError(MESSAGES_REQUIRED)
        messages = tuple(Message(role=each.role, content=each.content) for each in chat.messages)
        return ChatRequest(messages=messages, generation=generation)
    if not chat.prompt:
        raise BadRequestError(PROMPT_REQUIRED)
    return ChatRequest(
        prompt=chat.prompt,
        prefix=chat.prefix or "",
        chat_template=chat.chat_template,
        return_full_text=chat.return_full_text is not False,
        clean_up_tokenization_spaces=bool(chat.clean_up_tokenization_spaces),
        cut_long_prompt=chat.handle_long_generation == "hole",
        generation=generation,
    )


def _json(body: bytes) -> Any:
    """Return the content; what is none is told as FastAPI does, which reads it before pydantic."""
    if not body.strip():
        raise SchemaError([{"type": "missing", "loc": [], "msg": "Field required", "input": None}])
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise SchemaError(
            [
                {
                    "type": "json_invalid",
                    "loc": [error.pos],
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": {"error": error.msg},
                }
            ]
        ) from None
    except UnicodeDecodeError:
        raise BadRequestError("There was an error parsing the body") from None


def _generation(kwargs: GenerateKwargs | None) -> dict[str, Any]:
    if kwargs is None:
        return {}
    for key, value in (kwargs.model_extra or {}).items():
        if key in _OFF and value not in (None, _OFF[key]):
            raise BadRequestError(f"generate_kwargs.{key} is not supported; leave it out")
        if key not in _OFF and key not in _PASSED_ON:
            close = difflib.get_close_matches(key, _PASSED_ON, n=1, cutoff=0)
            raise BadRequestError(
                f'generate_kwargs has the unknown key "{key}"; did you mean "{close[0]}"?'
            )
    # generate() takes one of the two lengths; the default gives way.
    is_default = "max_length" not in kwargs.model_fields_set
    left_out = {"max_length"} if is_default and kwargs.max_new_tokens is not None else set()
    return {
        key: value
        for key, value in kwargs
        if value is not None and key not in _OFF and key not in left_out
    }
