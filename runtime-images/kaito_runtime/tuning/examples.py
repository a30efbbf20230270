"""What one row teaches: a conversation, a question with its answer, or a text.

Columns are found by DatasetConfig, else by their usual names.
"""

from dataclasses import dataclass
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig
from kaito_runtime.models.rendering import Message
from kaito_runtime.pod.termination import Failure
from kaito_runtime.tuning.data import Row, names

ROLES = ("system", "user", "assistant", "tool")
_REMEDY = (
    'write a column "messages" with a list of {"role": "user" or "assistant", "content": text}, '
    'or "prompt" and "completion", or name yours in `DatasetConfig.messages_column`, or in '
    "`context_column` and `response_column`"
)


@dataclass(frozen=True, slots=True)
class Example:
    """One row as text: either messages, or a prompt (may be empty) and what follows it."""

    messages: tuple[Message, ...] = ()
    prompt: str = ""
    completion: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the text."""

    messages: str = ""
    prompt: str = ""
    completion: str = ""

    def example(self, row: Row, where: str) -> Example:
        """Return what a row teaches; DataColumnsInvalid says what is wrong with which row."""
        if self.messages:
            return Example(messages=_messages(row.get(self.messages), self.messages, where))
        prompt = _text(row.get(self.prompt), self.prompt, where) if self.prompt else ""
        return Example(
            prompt=prompt, completion=_text(row.get(self.completion), self.completion, where)
        )


def find_columns(columns: list[str], config: DatasetConfig, name: str) -> Columns:
    """Return the columns of a table to train on."""
    for key in ("messages_column", "context_column", "response_column"):
        wanted = getattr(config, key)
        if wanted and wanted not in columns and not (key == "response_column" and wanted == "text"):
            raise _invalid(
                f'"{name}" has no column "{wanted}", which `DatasetConfig.{key}` names; found: '
                f"{names(columns)}. Write one of these, or leave the key out"
            )
    if config.messages_column:
        return Columns(messages=config.messages_column)
    if config.context_column:
        return Columns(prompt=config.context_column, completion=config.response_column or "")
    if "messages" in columns:
        return Columns(messages="messages")
    if "prompt" in columns and "completion" in columns:
        return Columns(prompt="prompt", completion="completion")
    text = config.response_column or "text"
    if text in columns:
        return Columns(completion=text)
    raise _invalid(f'"{name}" has no columns to train on; found: {names(columns)}. {_REMEDY}')


def _messages(value: Any, column: str, where: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _invalid(
            f'{where}, column "{column}" must be a list of messages, found '
            f"{type(value).__name__}; {_REMEDY}"
        )
    found = []
    for number, message in enumerate(value, 1):
        here = f'{where}, column "{column}", message {number}'
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            keys = names(list(message)) if isinstance(message, dict) else type(message).__name__
            raise _invalid(f'{here} must have "role" and "content", found {keys}')
        if message["role"] not in ROLES:
            raise _invalid(
                f'{here} has the role "{message["role"]}"; write one of {", ".join(ROLES)}'
            )
        found.append({"role": message["role"], "content": _text(message["content"], column, here)})
    return tuple(found)


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise _invalid(f'{where}, column "{column}" must be text, found {type(value).__name__}')
    return value


def _invalid(message: str) -> Failure:
    return Failure(Reason.DATA_COLUMNS_INVALID, message)
