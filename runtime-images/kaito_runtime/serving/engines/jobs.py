"""Requests on their way through the engine: each is answered once, and none is forgotten.

The queue is the only place where threads meet. Whoever takes a job out of it owes it an answer; what
is still inside when the engine ends is answered by `close`.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from kaito_runtime.serving.engine import ChatReply, ChatRequest, EngineEndedError, QueueFullError
from kaito_runtime.serving.engines import generation

BATCH_LIMIT = generation.ROW_LIMIT
COLLECT_SECONDS = 0.005
"""How long the first request of a batch waits for company."""


@dataclass(eq=False)
class Job:
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


class JobQueue:
    """Jobs in the order of their arrival, taken in batches of equal settings."""

    def __init__(self, limit: int):
        self._limit = limit
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._is_open = True

    def put(self, job: Job) -> None:
        """Add a job; raises QueueFullError, or EngineEndedError after `stop` or `close`."""
        with self._changed:
            if not self._is_open:
                raise EngineEndedError
            if len(self._jobs) >= self._limit:
                self._forget_cancelled()
            if len(self._jobs) >= self._limit:
                raise QueueFullError
            self._jobs.append(job)
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many wait; those whose clients hung up don't count."""
        with self._changed:
            return sum(not job.reply.cancelled() for job in self._jobs)

    def take(self) -> list[Job]:
        """Wait for the next batch; empty once the queue is stopped and everything was taken."""
        with self._changed:
            while self._jobs or self._is_open:
                self._changed.wait_for(lambda: self._jobs or not self._is_open)
                while self._is_open and len(self._jobs) < BATCH_LIMIT:
                    if not self._changed.wait(COLLECT_SECONDS):
                        break
                self._forget_cancelled()
                if batch := _first_batch(self._jobs):
                    self._jobs = [job for job in self._jobs if job not in batch]
                    return batch
            return []

    def stop(self) -> None:
        """Take no more jobs in; those inside are still to be taken."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def close(self, taken: Iterable[Job], error: Exception) -> None:
        """Answer all jobs, those that were taken too, with an error."""
        self.stop()
        with self._changed:
            jobs, self._jobs = [*taken, *self._jobs], []
        for job in jobs:
            job.answer(error)

    def _forget_cancelled(self) -> None:
        self._jobs = [job for job in self._jobs if not job.is_abandoned()]


def _first_batch(jobs: list[Job]) -> list[Job]:
    if not jobs:
        return []
    first = jobs[0]
    if generation.runs_alone(first.request.generation):
        return [first]
    fitting = [
        job
        for job in jobs
        if job.settings == first.settings and not generation.runs_alone(job.request.generation)
    ]
    return fitting[:BATCH_LIMIT]
