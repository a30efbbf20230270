"""Questions to an engine from a test that is no coroutine: each runs on an event loop of its own thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from kaito_runtime.serving.engine import ChatEngine, Delta, GenerationRequest, Prompt
from kaito_runtime.serving.sampling import Sampling

SECONDS = 20
"""How long to wait for what must come at once."""


@dataclass
class Answer:
    """The deltas of a request, and what they come to."""

    deltas: list[Delta] = field(default_factory=list)

    def of(self, index: int) -> str:
        return "".join(delta.text for delta in self.deltas if delta.index == index)

    @property
    def text(self) -> str:
        return self.of(0)

    @property
    def ids(self) -> list[int]:
        """The tokens, where log probabilities were asked for; without the one that ends it."""
        return [each.id for delta in self.deltas if not delta.index for each in delta.logprobs]

    @property
    def finish(self) -> str:
        return str(next(d.finish for d in self.deltas if d.finish and d.index == 0))


class EngineClient:
    """Asks an engine; cancelling a future is hanging up."""

    def __init__(self, engine: ChatEngine, seconds: float = SECONDS) -> None:
        self.engine = engine
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)
        self._thread.start()
        self._numbers = itertools.count()

    def submit(
        self,
        prompt: str | Prompt = "Where",
        adapter: str | None = None,
        streams: bool = True,
        request_id: str | None = None,
        answer: Answer | None = None,
        **more: Any,
    ) -> Future[Answer]:
        """Ask with the likeliest tokens, three of them, unless `more` says how to sample.

        What comes is added to `answer` meanwhile.
        """
        settings = {"greedy": True, "max_tokens": 3, **more}
        request = GenerationRequest(
            request_id or f"request-{next(self._numbers)}",
            Prompt(text=prompt) if isinstance(prompt, str) else prompt,
            Sampling(**settings),
            adapter,
            streams=streams,
        )
        return asyncio.run_coroutine_threadsafe(
            self._collect(request, answer or Answer()), self._loop
        )

    def ask(
        self, prompt: str | Prompt = "Where", adapter: str | None = None, **more: Any
    ) -> Answer:
        return self.submit(prompt, adapter, **more).result(self._seconds)

    def close(self) -> None:
        """Stop the engine and the loop."""
        self.engine.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _collect(self, request: GenerationRequest, answer: Answer) -> Answer:
        deltas = self.engine.generate(request)
        try:
            async for delta in deltas:
                answer.deltas.append(delta)
        finally:
            await deltas.aclose()
        return answer


def soon(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    for _ in range(SECONDS * 100):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come")
