"""The body of `POST /chat`: Kaito v0.3.0's schema, its defaults and its error texts; and `messages`
beside a prompt, `chat_template`, `adapter` and `stream`, which are ours.

Kaito answers a schema error with 422 and pydantic's list of errors; clients read `detail`.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kaito_runtime.models.rendering import Message
from kaito_runtime.serving.engine import GenerationRequest, Prompt
from kaito_runtime.serving.http import generate_kwargs
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.generate_kwargs import GenerateKwargs
from kaito_runtime.serving.http.json_body import (
    HALF_PAIRS,
    NotJsonError,
    has_half_pairs,
    parse_json,
    path_of,
    problem_of,
    unknown_key,
)
from kaito_runtime.serving.sampling import RequestRefusedError

PIPELINES = ("text-generation", "conversational")
PROMPT_REQUIRED = "Text generation parameter prompt required"
MESSAGES_REQUIRED = "Conversational parameter messages required"
BODY_NOT_PARSED = "There was an error parsing the body"

NAMES = {
    **{name: f"{generate_kwargs.WHERE}.{key}" for key, name in generate_kwargs.NEUTRAL.items()},
    "structure": generate_kwargs.WHERE,
    "search": generate_kwargs.WHERE,
}
"""Neutral parameters as this body calls them."""


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str


class ChatBody(BaseModel):
    """The body as clients write it; errors come in the order of the fields, which is Kaito's."""

    prompt: str | None = Field(
        None, description="Text to continue, or a message of the user (`chat_template`)."
    )
    return_full_text: bool | None = Field(
        True, description="Whether the reply begins with the prompt."
    )
    prefix: str | None = Field(None, description="Text before the prompt that is never shown.")
    clean_up_tokenization_spaces: bool | None = Field(
        False, description="Whether spaces before punctuation are taken out; not with `stream`."
    )
    handle_long_generation: str | None = Field(
        None,
        description="`hole`: a prompt that is too long loses its beginning. Else it is refused, 413.",
    )
    generate_kwargs: GenerateKwargs | None = Field(
        GenerateKwargs(), description="How tokens are chosen; null drops Kaito's defaults."
    )
    messages: list[ChatMessage] | None = Field(
        None, description="A conversation, `[{role, content}]`, in place of a prompt."
    )
    chat_template: bool | None = Field(
        None,
        description="Ours. Whether the prompt is a message of the user, or text; left out: as the "
        "adapter was tuned.",
    )
    adapter: str | None = Field(
        None, description="Ours. A name from /v1/models; left out: the default."
    )
    stream: bool | None = Field(
        False,
        description='Ours. Server-sent events: `{"delta": ...}` (with `index` where there are several '
        'sequences), and last `{"Result": ...}`.',
    )
    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class Chat:
    """What a body asks for, and what the reply is to look like."""

    request: GenerationRequest
    """Its adapter is the name that the client wrote."""
    shown: str = ""
    """Each sequence begins with this text (`return_full_text`)."""
    is_conversation: bool = False
    """The reply is Kaito's text of a message."""
    cleans_up: bool = False
    """Take out spaces before punctuation, as `clean_up_tokenization_spaces` does."""


class SchemaError(ApiError):
    """The body does not have the schema: 422, with FastAPI's list of what is wrong where."""

    def __init__(self, errors: Iterable[Mapping[str, Any]]):
        detail = [{**error, "loc": ["body", *error["loc"]]} for error in errors]
        first = detail[0]
        field = path_of(first["loc"][1:])
        super().__init__(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{field or 'the body'} {problem_of(first)}",
            field,
            detail=detail,
        )


class BadRequestError(ApiError):
    """The body has the schema and can't be answered: 400."""

    def __init__(self, message: str):
        super().__init__(HTTPStatus.BAD_REQUEST, message)


def parse_chat(body: bytes, pipeline: str) -> Chat:
    """Return what a body asks for.

    Raises:
        SchemaError: a value has another type.
        BadRequestError: a value is not supported, or what the pipeline needs is missing.
    """
    content = _json(body)
    try:
        chat = ChatBody.model_validate(content, from_attributes=True)
    except ValidationError as error:
        raise SchemaError(cast(Any, error.errors(include_url=False))) from None
    if has_half_pairs(body, content):
        raise BadRequestError(HALF_PAIRS)
    _refuse_unknown(chat)
    if chat.handle_long_generation not in (None, "hole"):
        raise BadRequestError(
            f'handle_long_generation must be "hole", found "{chat.handle_long_generation[:80]}"'
        )
    if chat.stream and chat.clean_up_tokenization_spaces:
        raise BadRequestError("clean_up_tokenization_spaces must be false where stream is true")
    try:
        sampling = generate_kwargs.sampling_of(chat.generate_kwargs)
        sampling.check()
    except RequestRefusedError as error:
        raise BadRequestError(f"{NAMES.get(error.field, error.field)} {error.problem}") from None
    prompt = _prompt(chat, pipeline)
    return Chat(
        GenerationRequest(
            id=f"chat-{uuid.uuid4().hex}",
            prompt=prompt,
            sampling=sampling,
            adapter=chat.adapter,
            streams=bool(chat.stream),
        ),
        shown=(chat.prompt or "") if prompt.text and chat.return_full_text is not False else "",
        is_conversation=pipeline == "conversational",
        cleans_up=bool(chat.clean_up_tokenization_spaces),
    )


def _prompt(chat: ChatBody, pipeline: str) -> Prompt:
    """Return what is to be continued; of a prompt and messages the pipeline chooses, as Kaito does."""
    truncate = chat.handle_long_generation == "hole"
    if chat.prompt and pipeline == "text-generation":
        text = (chat.prefix or "") + chat.prompt
        return Prompt(text=text, is_message=chat.chat_template, truncate=truncate)
    if chat.messages:
        messages = tuple(Message(role=each.role, content=each.content) for each in chat.messages)
        return Prompt(messages=messages)
    raise BadRequestError(PROMPT_REQUIRED if pipeline == "text-generation" else MESSAGES_REQUIRED)


def _refuse_unknown(chat: ChatBody) -> None:
    for key in chat.model_extra or {}:
        if key in generate_kwargs.KEYS:
            raise BadRequestError(f'"{key}" must be written into generate_kwargs')
        raise BadRequestError(unknown_key(key, ChatBody.model_fields, "the body"))
    if chat.generate_kwargs is None:
        return
    try:
        unknown = generate_kwargs.unknown_keys(chat.generate_kwargs)
    except RequestRefusedError as error:
        raise BadRequestError(str(error)) from None
    for key in unknown:
        raise BadRequestError(unknown_key(key, generate_kwargs.KEYS, generate_kwargs.WHERE))


def _json(body: bytes) -> Any:
    """Return the content; what is none is told as FastAPI does, which reads it before pydantic."""
    if not body.strip():
        raise SchemaError([{"type": "missing", "loc": [], "msg": "Field required", "input": None}])
    try:
        return parse_json(body)
    except NotJsonError as error:
        if error.position is None:
            raise BadRequestError(f"{BODY_NOT_PARSED}: it {error.problem}") from None
        raise SchemaError(
            [
                {
                    "type": "json_invalid",
                    "loc": [error.position],
                    "msg": "JSON decode error",
                    "input": {},
                    "ctx": {"error": error.problem},
                }
            ]
        ) from None
