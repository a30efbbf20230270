"""`tools` and `tool_choice`: what is offered to the model, and what holds it to a call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kaito_runtime.serving.http.openai.fields import invalid
from kaito_runtime.serving.sampling import JsonStructure

TOOLS_LIMIT = 128
"""As OpenAI's."""
NAME = r"^[A-Za-z0-9_.-]{1,64}$"


class Function(BaseModel):
    """A function that the model may call."""

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of the arguments.")
    strict: bool | None = None
    model_config = ConfigDict(extra="allow")


class Tool(BaseModel):
    """A tool; of OpenAI's kinds, functions."""

    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    """A function by its name."""

    name: str


class NamedChoice(BaseModel):
    """The function that must be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request offers and demands."""

    tools: tuple[Mapping[str, Any], ...] = ()
    """For the chat template."""
    names: frozenset[str] = frozenset()
    forced_name: str = ""
    """The function that is called: the whole answer is its arguments."""
    is_required: bool = False
    """The whole answer is a list of calls."""
    is_parallel: bool = True
    """Whether more than one call may come."""
    structure: JsonStructure | None = None


def offer_of(
    tools: Sequence[Tool] | None, choice: ToolChoice | None, *, parallel: bool | None
) -> Offer:
    """Return what is offered; raises ApiError for a choice that does not fit the tools."""
    if not tools:
        if choice not in (None, "none"):
            raise invalid("tool_choice", "must be left out, or tools must be given")
        return Offer()
    if len(tools) > TOOLS_LIMIT:
        raise invalid("tools", f"must have at most {TOOLS_LIMIT} functions, found {len(tools)}")
    if choice == "none":
        return Offer()
    functions = {tool.function.name: tool.function for tool in tools}
    offered = tuple(tool.model_dump(exclude_none=True) for tool in tools)
    names, is_parallel = frozenset(functions), parallel is not False
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        if name not in functions:
            raise invalid("tool_choice.function.name", "must be one of the names in tools")
        structure = JsonStructure(functions[name].parameters or {"type": "object"})
        return Offer(offered, names, name, is_parallel=False, structure=structure)
    if choice == "required":
        structure = JsonStructure(_schema_of_calls(functions.values(), is_parallel=is_parallel))
        return Offer(offered, names, is_required=True, is_parallel=is_parallel, structure=structure)
    return Offer(offered, names, is_parallel=is_parallel)


def _schema_of_calls(functions: Any, *, is_parallel: bool) -> dict[str, Any]:
    """Return the schema of a list of calls, as the reader of calls reads them."""
    definitions: dict[str, Any] = {}
    calls = []
    for function in functions:
        parameters = dict(function.parameters or {"type": "object"})
        for key in ("$defs", "definitions"):
            for name, schema in parameters.pop(key, {}).items():
                if definitions.setdefault(key, {}).setdefault(name, schema) != schema:
                    raise invalid(
                        "tools", f'must not have two different {key} called "{name[:64]}"'
                    )
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    most = {} if is_parallel else {"maxItems": 1}
    return {"type": "array", "minItems": 1, **most, "items": {"anyOf": calls}, **definitions}
