"""Requests on their way through the engine: each is answered once, and none is forgotten.

The queue is the only place where threads meet. Whoever takes a request out of it owes it an answer; what
is still inside when the engine ends is answered by `close`.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from kaito_runtime.serving.batch_engine import ChatReply, ChatRequest
from kaito_runtime.serving.engine import EngineEndedError, QueueFullError
from kaito_runtime.serving.engines import generation

BATCH_LIMIT = generation.ROW_LIMIT
COLLECT_SECONDS = 0.005
"""How long the first request of a batch waits for company."""


@dataclass(eq=False)
class QueuedRequest:
    """A request with its tokens and the promise of a reply."""

    request: ChatRequest
    settings: str
    """What rows of one batch share."""
    reply: "Future[ChatReply]" = field(default_factory=Future)
    ids: list[int] = field(default_factory=list)
    new_tokens: int = 0
    """The most tokens to generate."""
    _is_answered: bool = False

    def answer(self, outcome: ChatReply | Exception) -> None:
        """Keep the promise; the first answer counts, and a client that hung up gets none.

        The future is asked and marked in one step, so that no cancellation can come between.
        """
        if self._is_answered:
            return
        self._is_answered = True
        if not self.reply.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            self.reply.set_exception(outcome)
        else:
            self.reply.set_result(outcome)

    def is_abandoned(self) -> bool:
        """Return true if the client hung up; other waiters of the future are then told as well."""
        if not self.reply.cancelled():
            return False
        if not self._is_answered:
            self._is_answered = True
            self.reply.set_running_or_notify_cancel()
        return True


class RequestQueue:
    """Requests in the order of their arrival, taken in batches of equal settings."""

    def __init__(self, limit: int):
        self._limit = limit
        self._queue: list[QueuedRequest] = []
        self._changed = threading.Condition()
        self._is_open = True

    def put(self, queued: QueuedRequest) -> None:
        """Add a request; raises QueueFullError, or EngineEndedError after `stop` or `close`."""
        with self._changed:
            if not self._is_open:
                raise EngineEndedError
            if len(self._queue) >= self._limit:
                self._forget_cancelled()
            if len(self._queue) >= self._limit:
                raise QueueFullError
            self._queue.append(queued)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many wait; those whose clients hung up don't count."""
        with self._changed:
            return sum(not queued.reply.cancelled() for queued in self._queue)

    def take(self) -> list[QueuedRequest]:
        """Wait for the next batch; empty once the queue is stopped and everything was taken."""
        with self._changed:
            while self._queue or self._is_open:
                self._changed.wait_for(lambda: self._queue or not self._is_open)
                while self._is_open and len(self._queue) < BATCH_LIMIT:
                    if not self._changed.wait(COLLECT_SECONDS):
                        break
                self._forget_cancelled()
                if batch := _first_batch(self._queue):
                    self._queue = [queued for queued in self._queue if queued not in batch]
                    return batch
            return []

    def stop(self) -> None:
        """Take no more requests in; those inside are still to be taken."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def close(self, taken: Iterable[QueuedRequest], error: Exception) -> None:
        """Answer all requests, those that were taken too, with an error."""
        self.stop()
        with self._changed:
            requests, self._queue = [*taken, *self._queue], []
        for queued in requests:
            queued.answer(error)

    def _forget_cancelled(self) -> None:
        self._queue = [queued for queued in self._queue if not queued.is_abandoned()]


def _first_batch(requests: list[QueuedRequest]) -> list[QueuedRequest]:
    if not requests:
        return []
    first = requests[0]
    if generation.runs_alone(first.request.generation):
        return [first]
    fitting = [
        queued
        for queued in requests
        if queued.settings == first.settings
        and not generation.runs_alone(queued.request.generation)
    ]
    return fitting[:BATCH_LIMIT]
