"""What the two generating routes of `/v1` share."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from kaito_runtime.serving.engine import (
    AdapterNotFoundError,
    Delta,
    GenerationRequest,
    PromptTooLongError,
)
from kaito_runtime.serving.http.answers import Answer
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.generation import GenerationHandler
from kaito_runtime.serving.http.names import DEFAULT, adapter_of
from kaito_runtime.serving.http.openai.fields import NAMES
from kaito_runtime.serving.http.openai.merging import merged

DONE = b"[DONE]"
"""The last event of a stream."""


class OpenAIHandler(GenerationHandler):
    """A route whose errors have OpenAI's statuses and codes."""

    names: Mapping[str, str] = NAMES
    refusals: ClassVar = {
        PromptTooLongError: (HTTPStatus.BAD_REQUEST, "context_length_exceeded"),
        AdapterNotFoundError: (HTTPStatus.NOT_FOUND, "model_not_found"),
    }
    queue_full = HTTPStatus.TOO_MANY_REQUESTS

    def send_failure(self, error: ApiError) -> None:
        """End a stream with the error."""
        self.send_last_event(error.content(self.request.path), DONE)

    def adapter(self, model: str | None) -> str | None:
        """Return the adapter of a model's name."""
        return adapter_of(self.engine(), model, "model")

    def merged_deltas(
        self, requests: Sequence[GenerationRequest], answers: Sequence[Answer]
    ) -> AsyncGenerator[tuple[int, Delta], None]:
        """Return the deltas of several requests as they come, each with its request's number."""
        asked = zip(requests, answers, strict=True)
        return merged([self.deltas(request, answer) for request, answer in asked])


def shown_model(model: str | None) -> str:
    """Return the name that an answer repeats."""
    return model or DEFAULT
