"""`messages` as clients write them, and as chat templates read them."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from kaito_runtime.models.rendering import Message
from kaito_runtime.serving.http.openai.fields import invalid

_ROLES = {"developer": "system"}
"""OpenAI's newer name of a role that templates know by the older one."""


def _content(value: Any) -> Any:
    """Return text; parts are checked one by one, so that the wrong one is named."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError('must be a text, or a list of {"type": "text", "text": ...}')
    return "\n".join(_text_of(number, part) for number, part in enumerate(value))


def _text_of(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text":
        shown = f', found "{kind[:40]}"' if isinstance(kind, str) else ""
        raise ValueError(
            f'part {number} must be {{"type": "text", "text": ...}}{shown}; this server reads text alone'
        )
    if not isinstance(part.get("text"), str):
        raise ValueError(f"part {number} must have its text as a text")
    return str(part["text"])


Content = Annotated[
    str | None,
    BeforeValidator(_content),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "null"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                        "required": ["type", "text"],
                    },
                },
            ]
        }
    ),
]


class CalledFunction(BaseModel):
    """A call that was made: the function and its arguments as JSON text."""

    name: str
    arguments: str = "{}"


class MadeCall(BaseModel):
    """A call that the assistant has made."""

    id: str | None = None
    type: str = "function"
    function: CalledFunction


class ConversationMessage(BaseModel):
    """One turn; what else it has is for the chat template."""

    role: str
    content: Content = None
    name: str | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None
    model_config = ConfigDict(extra="allow")


def rendered(messages: Sequence[ConversationMessage]) -> tuple[Message, ...]:
    """Return messages for a chat template; raises ApiError for one without anything to say."""
    return tuple(_rendered(number, message) for number, message in enumerate(messages))


def _rendered(number: int, message: ConversationMessage) -> Message:
    if message.content is None and not message.tool_calls:
        raise invalid(f"messages[{number}].content", "must be a text")
    written: Message = {
        **(message.model_extra or {}),
        "role": _ROLES.get(message.role, message.role),
        "content": message.content or "",
    }
    for key in ("name", "tool_call_id"):
        if (value := getattr(message, key)) is not None:
            written[key] = value
    if message.tool_calls:
        written["tool_calls"] = [
            _call(f"messages[{number}].tool_calls[{place}]", call)
            for place, call in enumerate(message.tool_calls)
        ]
    return written


def _call(where: str, call: MadeCall) -> dict[str, Any]:
    """Return a call with its arguments as an object, which is what templates write as JSON."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise invalid(f"{where}.function.arguments", "must be the JSON text of an object")
    function = {"name": call.function.name, "arguments": arguments}
    return {"type": "function", "function": function, **({"id": call.id} if call.id else {})}
