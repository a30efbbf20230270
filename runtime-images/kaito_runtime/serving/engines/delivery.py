"""From the engine's thread to the event loops of those who wait: one wake-up for each step."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from kaito_runtime.serving.engine import Delta

Item = Delta | BaseException | None
"""A delta, what the request fails with, or None: it has ended."""


class DeltaStream:
    """What comes for one request; made and read on its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()

    def receive(self, item: Item) -> None:
        """Take what has come; called on the event loop."""
        self._items.append(item)
        self._arrived.set()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Yield the deltas; raise what the request fails with."""
        while True:
            while not self._items:
                self._arrived.clear()
                await self._arrived.wait()
            item = self._items.popleft()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item


class Delivery:
    """Collects what a step has for its requests, and hands it over at once."""

    def __init__(self) -> None:
        self._collected: dict[Any, list[tuple[DeltaStream, Item]]] = {}

    def add(self, stream: DeltaStream, item: Item) -> None:
        """Keep something for a request until the step ends."""
        self._collected.setdefault(stream.loop, []).append((stream, item))

    def send(self) -> None:
        """Wake each event loop once."""
        for loop, items in self._collected.items():
            try:
                loop.call_soon_threadsafe(_hand_over, items)
            except RuntimeError:  # the loop is closed: nobody waits there
                continue
        self._collected = {}


def _hand_over(items: list[tuple[DeltaStream, Item]]) -> None:
    for stream, item in items:
        stream.receive(item)
