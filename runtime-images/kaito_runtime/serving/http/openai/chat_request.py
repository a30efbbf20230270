"""The body of `POST /v1/chat/completions`."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kaito_runtime.serving.engine import GenerationRequest, Prompt
from kaito_runtime.serving.http.openai.fields import (
    Remedies,
    SharedFields,
    invalid,
    parse_body,
)
from kaito_runtime.serving.http.openai.messages import ConversationMessage, rendered
from kaito_runtime.serving.http.openai.tools.choice import Offer, Tool, ToolChoice, offer_of
from kaito_runtime.serving.sampling import JsonStructure, Sampling

REFUSED: Remedies = {
    "functions": (([],), "write tools"),
    "function_call": (("none",), "write tool_choice"),
    "audio": ((), "this server writes text alone"),
    "modalities": ((["text"],), "this server writes text alone"),
    "web_search_options": ((), "this server searches nothing"),
    "best_of": ((1,), "write n, and choose yourself"),
    "use_beam_search": ((False,), "POST /chat has num_beams"),
    "stop_token_ids": (([],), "write stop"),
    "echo": ((False,), "POST /v1/completions has it"),
    "add_generation_prompt": ((True,), "leave it out"),
    "continue_final_message": ((False,), "leave it out"),
    "chat_template": ((), "the model's own is used; write chat_template_kwargs"),
    "guided_json": ((), "write response_format"),
    "guided_regex": ((), "write response_format with a JSON schema"),
    "guided_choice": ((), "write response_format with a JSON schema"),
    "guided_grammar": ((), "write response_format with a JSON schema"),
    "structured_outputs": ((), "write response_format"),
    "grammar": (("",), "write response_format with a JSON schema"),
    "json_schema": ((), "write response_format"),
    "prompt_logprobs": ((), "leave it out"),
    "truncate_prompt_tokens": ((), "write a shorter conversation"),
}


_OF_TEMPLATE = frozenset(
    """
    messages conversation chat_template tools add_generation_prompt continue_final_message tokenize
    padding truncation max_length return_tensors return_dict return_assistant_tokens_mask
    tokenizer_kwargs
    """.split()  # noqa: SIM905
)
"""What the server itself says to a chat template, and to the function that renders it."""


class JsonSchema(BaseModel):
    """A schema with its name."""

    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool | None = None
    model_config = ConfigDict(extra="allow")


class ResponseFormat(BaseModel):
    """What the answer is."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    model_config = ConfigDict(extra="allow")


def _choice(value: Any) -> Any:
    named = isinstance(value, dict) and value.get("type") == "function"
    if value is None or named or (isinstance(value, str) and value in ("none", "auto", "required")):
        return value
    raise ValueError(
        'must be "none", "auto", "required", or {"type": "function", "function": {"name": ...}}'
    )


class ChatRequestBody(SharedFields):
    """The body as clients write it."""

    messages: list[ConversationMessage] = Field(
        min_length=1, description="The conversation; contents are text, or parts of type text."
    )
    max_completion_tokens: int | None = Field(
        None, description="The most tokens to generate; OpenAI's newer name of max_tokens."
    )
    logprobs: bool | None = Field(None, description="Whether tokens come with log probabilities.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="The likeliest tokens in each place; needs logprobs."
    )
    response_format: ResponseFormat | None = Field(
        None, description="text, json_object, or json_schema: what the answer is held to."
    )
    tools: list[Tool] | None = Field(None, description="Functions that the model may call.")
    tool_choice: Annotated[ToolChoice | None, BeforeValidator(_choice)] = Field(
        None, description="none, auto, required, or the function that is to be called."
    )
    parallel_tool_calls: bool | None = Field(None, description="False: at most one call an answer.")
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="vLLM's. More names for the chat template, such as enable_thinking."
    )
    reasoning_effort: Any = Field(
        None, description="For chat templates that read it.", json_schema_extra={"type": "string"}
    )


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a body asks for."""

    body: ChatRequestBody
    request: GenerationRequest
    """Its adapter is the name that the client wrote."""
    offer: Offer


def parse_chat_request(raw: bytes) -> ChatRequest:
    """Return what a body asks for; raises ApiError, RequestRefusedError."""
    body = parse_body(ChatRequestBody, raw, REFUSED)
    offer = offer_of(body.tools, body.tool_choice, parallel=body.parallel_tool_calls)
    structure = _structure(body.response_format)
    if structure is not None and offer.structure is not None:
        raise invalid("response_format", "must be text where tool_choice demands a call")
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs", "must be left out, or logprobs must be true")
    limits = (body.max_completion_tokens, body.max_tokens, body.n_predict)
    request = GenerationRequest(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        prompt=Prompt(
            messages=rendered(body.messages),
            tools=offer.tools,
            template_arguments=_template_arguments(body),
        ),
        sampling=Sampling(
            **body.parameters(next((each for each in limits if each is not None), None)),
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            structure=structure or offer.structure,
        ),
        adapter=body.model,
        # The texts around calls are special tokens in many vocabularies.
        skip_special_tokens=body.skip_special_tokens is not False and not offer.tools,
        streams=bool(body.stream),
    )
    return ChatRequest(body, request, offer)


def _structure(form: ResponseFormat | None) -> JsonStructure | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return JsonStructure()
    if form.json_schema is None or form.json_schema.schema_ is None:
        raise invalid("response_format.json_schema.schema", "is required")
    return JsonStructure(form.json_schema.schema_)


def _template_arguments(body: ChatRequestBody) -> dict[str, Any]:
    arguments = dict(body.chat_template_kwargs or {})
    for key in arguments:
        if key in _OF_TEMPLATE or not key.isidentifier():
            raise invalid(f"chat_template_kwargs.{key[:80]}", "is not supported; leave it out")
    if body.reasoning_effort is not None:
        arguments.setdefault("reasoning_effort", body.reasoning_effort)
    return arguments
