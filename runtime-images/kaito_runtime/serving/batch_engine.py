"""The interface of an engine that answers in whole batches; it goes when the slot pool is in."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from kaito_runtime.models.rendering import Message
from kaito_runtime.pod.termination import Failure


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question, as text or as a conversation."""

    prompt: str | None = None
    """The text to continue; exactly one of prompt and messages is given."""
    messages: tuple[Message, ...] = ()
    chat_template: bool | None = None
    """Whether the prompt is a message of the user, rendered with the chat template, or text to
    continue; None leaves it to what the served adapter was tuned on."""
    return_full_text: bool = True
    """The reply begins with the prompt."""
    clean_up_tokenization_spaces: bool = False
    prefix: str = ""
    """Text before the prompt that the reply never shows."""
    cut_long_prompt: bool = False
    """Drop the beginning of a prompt that leaves no room in the context (Kaito's `hole`)."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of transformers' generate()."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The text of all returned sequences, one after another."""

    text: str
    prompt_tokens: int
    generated_tokens: int


class ChatFailedError(Exception):
    """The request was fine and could not be answered; the log has the reason."""


class ChatEngine(Protocol):
    """Answers requests on threads of its own."""

    ended: "Future[Failure | None]"
    """Done once the engine answers no more: with the reason, or None after `stop`."""

    def submit(self, request: ChatRequest) -> "Future[ChatReply]":
        """Queue a request.

        Raises RequestRefusedError, QueueFullError, or EngineEndedError. Every future is answered,
        with a reply, RequestRefusedError, ChatFailedError or EngineEndedError. A cancelled one frees
        its place in the queue and ends its generation.
        """

    def is_alive(self) -> bool:
        """Return false once the engine can't answer any more."""

    def waiting(self) -> int:
        """Return how many requests wait for their turn."""

    def stop(self) -> None:
        """Answer what was queued, then end all threads."""
