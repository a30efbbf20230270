"""How models write function calls: one row for each form, found by the chat template.

Sources: the templates of NousResearch/Hermes-2-Pro and Qwen2.5, of meta-llama/Llama-3.1 (JSON), and of
mistralai's instruct models: version 3 of their tokenizer writes a list, later ones name and arguments.
"""

import secrets
import string
from dataclasses import dataclass

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One form."""

    name: str
    in_template: tuple[str, ...]
    """What a chat template of this form contains."""
    opening: str
    """The text before the first call; an unmarked form may leave it out."""
    not_in_template: tuple[str, ...] = ()
    is_unmarked: bool = False
    """A call is the whole answer, from its first bracket."""
    closing: str = ""
    """The text behind each call."""
    separators: str = ""
    """Characters between calls, beside white space; empty: each call has its own opening."""
    has_names_before: bool = False
    """`name{...}` is a call too."""
    id_prefix: str = "call_"
    id_length: int = 24

    def recognises(self, template: str) -> bool:
        """Return true if a chat template is of this form."""
        return all(text in template for text in self.in_template) and not any(
            text in template for text in self.not_in_template
        )

    def new_id(self) -> str:
        """Return the id of another call."""
        return self.id_prefix + "".join(secrets.choice(_LETTERS) for _ in range(self.id_length))


FORMATS = (
    ToolFormat(
        "hermes",
        in_template=("<tool_call>", "tools"),
        not_in_template=("<function=", "<arg_key>"),  # Qwen3-Coder's and GLM's: no JSON
        opening="<tool_call>",
        closing="</tool_call>",
    ),
    ToolFormat(
        "mistral",
        in_template=("[TOOL_CALLS]", "tools"),
        opening="[TOOL_CALLS]",
        separators="[,]",
        has_names_before=True,
        id_prefix="",  # the templates refuse any other length
        id_length=9,
    ),
    ToolFormat(
        "llama3_json",
        in_template=("<|start_header_id|>", "tools", '"parameters"'),
        opening="<|python_tag|>",
        is_unmarked=True,
        separators=";",
    ),
)


def format_of(template: str) -> ToolFormat | None:
    """Return the form in which models with this chat template write calls, if it is known."""
    return next((each for each in FORMATS if each.recognises(template)), None)
