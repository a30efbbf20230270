"""How rows and questions become text, and the record of it that an adapter carries.

A question must be asked in the form that was taught: the tuner writes `kaito_rendering.json` beside
the adapter, `push` repeats it in the image's labels, and `serve` renders prompts accordingly. No
torch and no tokenizer in here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

Message = dict[str, Any]
"""`{"role": ..., "content": ...}`, and what else a chat template reads, such as `tool_calls`."""

RECORD_FILE = "kaito_rendering.json"
"""Beside the adapter's two files. Not a key of adapter_config.json: peft refuses keys that it does
not know (before 0.14), and Kaito's own images load adapters with such a release."""


class Form(StrEnum):
    """How a row was written for the model."""

    CHAT = "chat"
    """As a conversation, by a chat template."""
    TEXT = "text"
    """As bare text, which the model continues."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """The form of the rows that an adapter was tuned on, with the very template of a conversation."""

    form: Form = Form.TEXT
    chat_template: str = ""

    @property
    def template_digest(self) -> str:
        """`sha256:` and the hex digest of the template; empty for text."""
        return template_digest(self.chat_template) if self.chat_template else ""

    def labels(self) -> dict[str, str]:
        """Labels of the adapter's image: they say without a pull how to ask the model."""
        found = {"kaito.sh/rendering": str(self.form)}
        if self.chat_template:
            found["kaito.sh/chat-template-digest"] = self.template_digest
        return found


def template_digest(template: str) -> str:
    """Return what names a chat template: `sha256:` and the hex digest of its text."""
    return f"sha256:{hashlib.sha256(template.encode()).hexdigest()}"


def rendering_of(conversations: int, texts: int, chat_template: str) -> Rendering:
    """Return the rendering of a data set with so many rows of each form; the more frequent counts."""
    if conversations >= max(1, texts):
        return Rendering(Form.CHAT, chat_template)
    return Rendering()


def common_rendering(each: Iterable[Rendering]) -> Rendering:
    """Return what several adapters that are served together agree on; text where they do not."""
    distinct = set(each)
    return distinct.pop() if len(distinct) == 1 else Rendering()


def write_rendering(
    rendering: Rendering, folder: Path, more: Mapping[str, Any] | None = None
) -> None:
    """Write the record into an adapter's folder, with what else is to be known of its training."""
    content = {
        "rendering": str(rendering.form),
        "chat_template": rendering.chat_template,
        "chat_template_digest": rendering.template_digest,
        **(more or {}),
    }
    text = json.dumps({key: value for key, value in content.items() if value}, indent=2)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of an adapter's folder; None where there is none.

    Raises ValueError for one that is not a JSON object.
    """
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"{RECORD_FILE} is not readable ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f'{RECORD_FILE} must have "rendering": "chat" or "text"')
    return content


def read_rendering(folder: Path) -> Rendering:
    """Return how the rows of an adapter were rendered; without a record it was tuned on text.

    Raises ValueError, with what is wrong, for a record that contradicts itself.
    """
    content = read_record(folder)
    if content is None:
        return Rendering()
    form = content.get("rendering")
    if form not in tuple(Form):
        raise ValueError(f'{RECORD_FILE} must have "rendering": "chat" or "text"')
    template = content.get("chat_template", "")
    if form == Form.TEXT:
        return Rendering()
    if not isinstance(template, str) or not template:
        raise ValueError(f'{RECORD_FILE} must have the "chat_template" of its rows')
    if content.get("chat_template_digest") != template_digest(template):
        raise ValueError(f'the "chat_template" of {RECORD_FILE} is not the one of its digest')
    return Rendering(Form.CHAT, template)


def render(tokenizer: Any, messages: Iterable[Message], *, question: bool, **arguments: Any) -> str:
    """Return a conversation as text; with `question` it ends where the assistant begins to write.

    `arguments` are for the template: `tools`, names of its own, or another `chat_template`.

    Raises whatever the template raises: they refuse roles and orders as they like.
    """
    return str(
        tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=question, **arguments
        )
    )
