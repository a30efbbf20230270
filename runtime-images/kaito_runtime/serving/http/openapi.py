"""`/openapi.json`, from the models that read the bodies and the types of the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from kaito_runtime.serving.http.chat_schema import ChatBody
from kaito_runtime.serving.http.generation import VERIFIED
from kaito_runtime.serving.http.openai import responses
from kaito_runtime.serving.http.openai.chat_request import ChatRequestBody
from kaito_runtime.serving.http.openai.completion_request import CompletionRequestBody

_SCHEMAS = "#/components/schemas/"
_MESSAGES = [{"role": "user", "content": "Where does the otter live?"}]


@dataclass(frozen=True, slots=True)
class Route:
    """What is told of a route."""

    summary: str
    method: str = "get"
    body: Any = None
    example: Any = None
    answer: Any = None
    event: Any = None
    """The data of one event, where the answer can be streamed."""
    error: Any = None
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    """What is told of the headers of an answer."""


_OF_AN_ADAPTER = {
    VERIFIED: "Where an adapter answered: what was proven of it when it was loaded. Of several: one after the "
    'other, in the order of their names, between "; ".'
}
ROUTES = {
    "/v1/chat/completions": Route(
        "Answer a conversation (OpenAI).",
        "post",
        ChatRequestBody,
        {"model": "default", "messages": _MESSAGES},
        responses.ChatCompletion,
        responses.ChatCompletionChunk,
        responses.Error,
        headers=_OF_AN_ADAPTER,
    ),
    "/v1/completions": Route(
        "Continue texts (OpenAI).",
        "post",
        CompletionRequestBody,
        {"model": "default", "prompt": "The otter lives", "max_tokens": 32},
        responses.Completion,
        responses.Completion,
        responses.Error,
        headers=_OF_AN_ADAPTER,
    ),
    "/v1/models": Route(
        "List what `model` can name: the default, the base, and each adapter (OpenAI).",
        answer=responses.ModelList,
        error=responses.Error,
    ),
    "/v1/models/{model}": Route(
        "Describe what `model` can name (OpenAI).", answer=responses.Model, error=responses.Error
    ),
    "/chat": Route(
        "Answer a prompt or a conversation (Kaito v0.3.0).",
        "post",
        ChatBody,
        {"prompt": "Where does the otter live?", "generate_kwargs": {"max_new_tokens": 32}},
        headers=_OF_AN_ADAPTER,
    ),
    "/": Route("Say that the server runs; a browser gets a page to chat on."),
    "/healthz": Route("Say whether the process is worth keeping; needs no key."),
    "/readyz": Route("Say whether requests can be answered; needs no key."),
    "/metrics": Route("Figures for Prometheus; JSON for `Accept: application/json`."),
    "/openapi.json": Route("This document; needs no key."),
    "/docs": Route("This document as a page; needs no key.", kind="text/html"),
}


@cache
def openapi() -> dict[str, Any]:
    """Return the document."""
    kinds = {
        kind
        for route in ROUTES.values()
        for kind in (route.body, route.answer, route.event, route.error)
        if kind is not None
    }
    named = sorted(kinds, key=lambda kind: str(kind.__name__))
    references, schemas = TypeAdapter.json_schemas(
        [(kind, "validation", TypeAdapter(kind)) for kind in named],
        ref_template=_SCHEMAS + "{model}",
    )
    schema_of = {kind: references[kind, "validation"] for kind in named}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kaito model server", "version": "1"},
        "paths": {
            path: {route.method: _operation(path, route, schema_of)}
            for path, route in ROUTES.items()
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(path: str, route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    content = {route.kind: {"schema": schema_of[route.answer]} if route.answer else {}}
    if route.event:
        content["text/event-stream"] = {"schema": schema_of[route.event]}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "responses": {"200": {"description": "OK", "content": content}},
    }
    if route.headers:
        operation["responses"]["200"]["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in route.headers.items()
        }
    if route.error:
        error = {"application/json": {"schema": schema_of[route.error]}}
        operation["responses"]["default"] = {"description": "Error", "content": error}
    if route.body:
        body = {"schema": schema_of[route.body], "example": route.example}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    if "{model}" in path:
        operation["parameters"] = [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation
