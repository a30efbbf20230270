"""What lies between the web server and the model: requests, deltas and the `ChatEngine` Protocol.

No HTTP and no torch in here: a server can be tested with an engine of twenty lines, and an engine
without a server.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from kaito_runtime.models.rendering import Message
from kaito_runtime.models.verification import Verification
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.sampling import RequestRefusedError, Sampling

BASE = ""
"""The name of no adapter: the base model alone."""
MODEL_NAME = "base"
"""By which clients ask for the base model."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is continued: exactly one of text, messages and token ids."""

    text: str | None = None
    messages: tuple[Message, ...] = ()
    ids: tuple[int, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    """Functions that the model may call, as OpenAI writes them; for the chat template."""
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    """More names for the chat template, such as enable_thinking."""
    is_message: bool | None = None
    """Whether `text` is a message of the user, rendered with the chat template, or text to continue;
    None leaves it to what the adapter was tuned on."""
    truncate: bool = False
    """Drop the beginning where the context leaves no room (Kaito's `hole`), instead of refusing."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question."""

    id: str
    """Distinct among those that run."""
    prompt: Prompt
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None
    """The name of an adapter, BASE, or None for what is served by default: all adapters together."""
    skip_special_tokens: bool = True
    """Whether deltas leave special tokens out; the token that ends a sequence is never part of it."""
    streams: bool = True
    """False: someone waits for the whole answer, and one delta at the end of each sequence is enough."""


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"
    """The model ended it, or a stop text came."""
    LENGTH = "length"
    ABORT = "abort"
    """The server stops."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with the natural logarithm of its probability."""

    token: str
    """As text; part of a character that has several tokens is U+FFFD."""
    id: int
    logprob: float
    alternatives: tuple["TokenLogprob", ...] = ()
    """The likeliest tokens in its place, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What one sequence has gained; the text of a sequence is the texts of its deltas joined."""

    text: str
    index: int = 0
    """Which of the request's n sequences."""
    new_tokens: int = 1
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt: how many were not computed again."""
    queued_seconds: float = 0.0
    """How long the request waited before its first step."""
    first_token_seconds: float = 0.0
    """From the request to the first token of this sequence, as the engine has seen it; 0: not known."""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None
    """In the last delta of a sequence, and in no other."""


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """An adapter that requests can name."""

    name: str
    strength: float = 1.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """More that is known of it: kind, rank, layers."""
    verification: Verification | None = None
    """What was proven of it when it was loaded."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The base model as it is loaded."""

    name: str
    context: int
    """Tokens of prompt and answer together."""
    engine: str
    """`transformers` or `vllm`."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How busy an engine is."""

    running: int = 0
    """Sequences that are being generated."""
    waiting: int = 0
    """Requests that wait for their turn."""
    cache_use: float = 0.0
    """Share of the key-value cache that is taken, 0 to 1."""
    prefix_tokens_queried: int = 0
    prefix_tokens_found: int = 0
    preemptions: int = 0


class PromptTooLongError(RequestRefusedError):
    """The prompt leaves no room in the model's context."""


class AdapterNotFoundError(RequestRefusedError):
    """No adapter has this name."""


class QueueFullError(Exception):
    """Too many requests wait already."""


class GenerationFailedError(Exception):
    """The request was fine and could not be answered; the log has the reason."""


class EngineEndedError(Exception):
    """The engine answers nothing any more; another process may."""


class ChatEngine(Protocol):
    """Answers requests; its methods are called on the event loop, unless they say otherwise."""

    ended: "Future[Failure | None]"
    """Done once the engine answers no more: with the reason, or None after `stop`."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield what is generated as it comes, the sequences of a request in any order.

        The first step raises RequestRefusedError or a kind of it, QueueFullError or EngineEndedError,
        a later one GenerationFailedError or EngineEndedError. Closing the iterator, or cancelling the
        step that is awaited, ends the request. Who reads slowly finds what has come meanwhile joined,
        or waiting: the engine waits for no reader.
        """

    def abort(self, request_id: str) -> None:
        """End a request, whose iterator then ends; nothing happens where it has ended."""

    def model(self) -> ModelInfo:
        """The base model."""

    def chat_template(self, adapter: str | None) -> str:
        """The chat template in which messages are rendered for an adapter."""

    def adapters(self) -> Sequence[AdapterInfo]:
        """The adapters that a request can name, in the order of their names."""

    def load_adapter(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Add an adapter while requests run; called on a thread, and blocks.

        Raises Failure (AdapterInvalid, OutOfMemory), or RequestRefusedError for a name that is taken.
        """

    def unload_adapter(self, name: str) -> None:
        """Remove one, after the requests that use it; called on a thread, and blocks.

        Raises AdapterNotFoundError.
        """

    def load(self) -> EngineLoad:
        """How busy it is."""

    def is_healthy(self) -> bool:
        """Return false once the engine can't answer any more."""

    def stop(self) -> None:
        """Answer what was queued, then end all threads; called on a thread, and blocks."""
