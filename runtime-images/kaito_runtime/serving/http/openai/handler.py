"""What the two generating routes of `/v1` share."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
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

DONE = b"[DONE]"
"""The last event of a stream."""
AHEAD = 64
"""Deltas of several prompts that wait to be sent."""


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

    async def merged(
        self, requests: Sequence[GenerationRequest], answers: Sequence[Answer]
    ) -> AsyncGenerator[tuple[int, Delta], None]:
        """Yield the deltas of several requests as they come, each with its request's number."""
        if len(requests) == 1:
            async with aclosing(self.deltas(requests[0], answers[0])) as deltas:
                async for delta in deltas:
                    yield 0, delta
            return
        queue: asyncio.Queue[tuple[int, Delta] | None] = asyncio.Queue(AHEAD)

        async def run(number: int) -> None:
            async with aclosing(self.deltas(requests[number], answers[number])) as deltas:
                async for delta in deltas:
                    await queue.put((number, delta))

        async def run_all() -> None:
            try:
                await asyncio.gather(*tasks)
            finally:
                await queue.put(None)

        tasks = [asyncio.ensure_future(run(number)) for number in range(len(requests))]
        whole = asyncio.ensure_future(run_all())
        try:
            while (item := await queue.get()) is not None:
                yield item
            await whole
        finally:
            for task in (whole, *tasks):
                task.cancel()
            await asyncio.gather(whole, *tasks, return_exceptions=True)


def shown_model(model: str | None) -> str:
    """Return the name that an answer repeats."""
    return model or DEFAULT
