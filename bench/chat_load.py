"""Many clients of a model server at once: what they got, and when."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

Body = Mapping[str, Any]
TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True)
class Question:
    """A body, and how many tokens its answer is forced to have."""

    path: str
    body: Body
    tokens: int


@dataclass(frozen=True)
class Reply:
    seconds: float
    first_seconds: float
    """To the first piece of the answer; the whole time where it came at once."""
    tokens: int


@dataclass(frozen=True)
class Load:
    """What a number of clients got."""

    replies: Sequence[Reply]
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return sum(reply.tokens for reply in self.replies) / self.seconds

    def latency(self, share: float) -> float:
        return _quantile([reply.seconds for reply in self.replies], share)

    def first(self, share: float) -> float:
        return _quantile([reply.first_seconds for reply in self.replies], share)


async def measure(url: str, clients: int, rounds: int, question: Callable[[int], Question]) -> Load:
    """Let each client ask `rounds` questions, one after the other; `question` has their numbers."""
    connections = aiohttp.TCPConnector(limit=clients)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(url, connector=connections, timeout=timeout) as http:
        started = time.perf_counter()

        async def client(number: int) -> list[Reply]:
            return [await _ask(http, question(number + turn * clients)) for turn in range(rounds)]

        found = await asyncio.gather(*(client(number) for number in range(clients)))
        seconds = time.perf_counter() - started
    return Load([reply for replies in found for reply in replies], seconds)


async def _ask(http: aiohttp.ClientSession, question: Question) -> Reply:
    started = time.perf_counter()
    first = 0.0
    async with http.post(question.path, json=question.body) as answer:
        if answer.status != HTTPStatus.OK:
            text = (await answer.text())[:300]
            raise RuntimeError(f"{answer.url} answered {answer.status}: {text}")
        async for line in answer.content:
            if not first and (not question.body.get("stream") or _is_event(line)):
                first = time.perf_counter() - started
    return Reply(time.perf_counter() - started, first, question.tokens)


def _is_event(line: bytes) -> bool:
    return line.startswith(b"data: {")


def _quantile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
