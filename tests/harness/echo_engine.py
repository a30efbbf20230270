"""A ChatEngine without a model: it says the prompt again, a word a delta."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from kaito_runtime.models.verification import Match, Verification
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import (
    AdapterInfo,
    AdapterNotFoundError,
    Delta,
    EngineLoad,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    Prompt,
    QueueFullError,
    TokenLogprob,
)

PROMPT_TOKENS = 3


def verification(name: str) -> Verification:
    """What is proven of each adapter of the engine."""
    return Verification(name, Match.MATCHES, Match.NOT_RECORDED, Match.OWN, 0.5, False)


class Held:
    """A request that waits until the test says go on."""

    def __init__(self) -> None:
        self._go = asyncio.Event()
        self.is_gone = False
        """The iterator was closed, or the step cancelled."""

    def release(self) -> None:
        self._go.set()

    async def wait(self) -> None:
        try:
            await self._go.wait()
        except BaseException:
            self.is_gone = True
            raise


class EchoEngine:
    """Answers with `answer`, or the prompt; the end of the text is a token as well.

    `trouble` is raised after `trouble_after` deltas; with `holds` a request stops after `hold_after`.
    """

    def __init__(self, adapters: Sequence[str] = ()) -> None:
        self.trouble: BaseException | None = None
        self.trouble_after = 0
        self.answer = ""
        self.ends = FinishReason.STOP
        self.template = ""
        self.cached_tokens = 0
        self.is_full = False
        self.ended: Future[Failure | None] = Future()
        self.holds = False
        self.hold_after = 0
        self.held: list[Held] = []
        self.requests: list[GenerationRequest] = []
        self.running: set[str] = set()
        """The ids of requests whose iterators are open."""
        self.loaded = {name: _info(name) for name in adapters}

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        if self.is_full:
            raise QueueFullError
        if request.adapter and request.adapter not in self.loaded:
            raise AdapterNotFoundError("is not loaded", "adapter")
        self.running.add(request.id)
        try:
            for number, delta in enumerate(self._deltas(request)):
                if self.trouble and number >= self.trouble_after:
                    raise self.trouble
                if self.holds and number >= self.hold_after:
                    self.held.append(held := Held())
                    await held.wait()
                    self.held.remove(held)
                yield delta
        finally:
            self.running.discard(request.id)

    def _deltas(self, request: GenerationRequest) -> list[Delta]:
        """All deltas of a request, its sequences in turn; one a sequence where nobody streams."""
        sequences = [self._sequence(request, index) for index in range(request.sampling.n)]
        if not request.streams:
            return [_joined(deltas) for deltas in sequences]
        longest = max(map(len, sequences))
        return [
            deltas[step] for step in range(longest) for deltas in sequences if step < len(deltas)
        ]

    def _sequence(self, request: GenerationRequest, index: int) -> list[Delta]:
        sampling = request.sampling
        text, is_cut = self.answer or _text_of(request.prompt), False
        for stop in sampling.stop:
            if (at := text.find(stop)) >= 0:
                text, is_cut = text[: at + (len(stop) if sampling.include_stop else 0)], True
        words = re.findall(r"\s*\S+|\s+$", text)
        words += [] if is_cut and words else [""]
        limit = sampling.max_tokens or len(words)
        words, is_long = words[:limit], len(words) > limit
        deltas = [
            Delta(
                text=word,
                index=index,
                prompt_tokens=PROMPT_TOKENS,
                cached_tokens=self.cached_tokens,
                queued_seconds=0.25,
                logprobs=_logprobs(word, sampling.logprobs),
            )
            for word in words
        ]
        deltas[-1] = replace(deltas[-1], finish=FinishReason.LENGTH if is_long else self.ends)
        return deltas

    def abort(self, request_id: str) -> None:
        pass

    def model(self) -> ModelInfo:
        return ModelInfo("echo", context=256, engine="echo")

    def chat_template(self, adapter: str | None) -> str:
        return self.template

    def adapters(self) -> Sequence[AdapterInfo]:
        return [self.loaded[name] for name in sorted(self.loaded)]

    def load_adapter(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        self.loaded[name] = _info(name, strength)
        return self.loaded[name]

    def unload_adapter(self, name: str) -> None:
        del self.loaded[name]

    def load(self) -> EngineLoad:
        return EngineLoad(running=len(self.running), waiting=len(self.held), cache_use=0.5)

    def is_healthy(self) -> bool:
        return not self.ended.done()

    def stop(self) -> None:
        pass


def _info(name: str, strength: float = 1.0) -> AdapterInfo:
    return AdapterInfo(name, strength, verification=verification(name))


def _text_of(prompt: Prompt) -> str:
    if prompt.messages:
        content = prompt.messages[-1].get("content")
        return content if isinstance(content, str) else "nothing"
    return " ".join(map(str, prompt.ids)) if prompt.ids else prompt.text or ""


def _joined(deltas: Sequence[Delta]) -> Delta:
    return replace(
        deltas[-1],
        text="".join(delta.text for delta in deltas),
        new_tokens=sum(delta.new_tokens for delta in deltas),
        logprobs=tuple(each for delta in deltas for each in delta.logprobs),
    )


def _logprobs(word: str, alternatives: int | None) -> tuple[TokenLogprob, ...]:
    if alternatives is None:
        return ()
    others = tuple(TokenLogprob(f"{word}{n}", n, -0.5 * (n + 1)) for n in range(alternatives))
    return (TokenLogprob(word, 7, -0.5, others),)
