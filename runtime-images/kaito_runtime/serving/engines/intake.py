"""Where the event loops and the engine's thread meet: requests, and commands between two steps.

Each request that has entered is answered: by the engine, or by `close`.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import EngineEndedError, QueueFullError
from kaito_runtime.serving.engines.rows import Job
from kaito_runtime.serving.sampling import RequestRefusedError


class Intake:
    """Takes requests in until it is stopped or closed."""

    def __init__(self, waiting_limit: int):
        self._waiting_limit = waiting_limit
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._inbox: deque[Job] = deque()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_open = True
        self.ended: Future[Failure | None] = Future()

    def enter(self, job: Job) -> None:
        """Register a request; raises EngineEndedError, QueueFullError or RequestRefusedError."""
        with self._changed:
            if not self._is_open:
                raise EngineEndedError
            if self._waiting() >= self._waiting_limit:
                raise QueueFullError
            if job.request.id in self._jobs:
                raise RequestRefusedError("must differ from those that run", "id")
            self._jobs[job.request.id] = job

    def put(self, job: Job) -> None:
        """Hand a request that has entered to the engine; raises EngineEndedError."""
        with self._changed:
            if self.ended.done():
                raise EngineEndedError
            self._inbox.append(job)
            self._changed.notify_all()

    def exit(self, job: Job) -> None:
        """Forget a request; what still computes for it ends."""
        with self._changed:
            job.is_aborted = True
            self._jobs.pop(job.request.id, None)
            self._changed.notify_all()

    def abort(self, request_id: str) -> None:
        """End a request early."""
        with self._changed:
            job = self._jobs.get(request_id)
            if job is not None:
                job.is_aborted = True
                _tell(job, None)
                self._changed.notify_all()

    def call(self, command: Callable[[], Any]) -> Any:
        """Run a command on the engine's thread, and return what it returns."""
        done: Future[Any] = Future()
        with self._changed:
            if not self._is_open:
                raise EngineEndedError
            self._commands.append((command, done))
            self._changed.notify_all()
        return done.result()

    def wait_until_unused(self, adapter: str) -> None:
        """Return once no request uses an adapter."""
        with self._changed:
            self._changed.wait_for(
                lambda: not any(adapter in job.weights for job in self._jobs.values())
            )

    def waiting(self) -> int:
        """Return how many requests wait for their turn."""
        with self._changed:
            return self._waiting()

    def wait(self, is_busy: Callable[[], bool]) -> bool:
        """Wait for something to do; false once this is stopped and every request was answered.

        `is_busy` says whether the engine has work of its own.
        """

        def has_work() -> bool:
            return bool(self._inbox or self._commands) or is_busy()

        with self._changed:
            self._changed.wait_for(lambda: has_work() or not (self._is_open or self._jobs))
            return has_work()

    def arrivals(self) -> Collection[Job]:
        """Take the requests that have come."""
        with self._changed:
            arrived, self._inbox = self._inbox, deque()
        return arrived

    def run_commands(self) -> int:
        """Run the commands that have come, and return how many."""
        with self._changed:
            commands, self._commands = self._commands, deque()
        for command, done in commands:
            try:
                done.set_result(command())
            except BaseException as error:  # noqa: BLE001  it is the caller's
                done.set_exception(error)
        return len(commands)

    def stop(self) -> None:
        """Take no more in; what is inside is still to be answered."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def close(self, failure: Failure | None) -> None:
        """Answer everything that is inside with EngineEndedError, and set `ended`."""
        with self._changed:
            self._is_open = False
            self.ended.set_result(failure)  # before the answers: who asks again is told at once
            jobs, commands = list(self._jobs.values()), list(self._commands)
        for _, done in commands:
            done.set_exception(EngineEndedError())
        for job in jobs:
            _tell(job, EngineEndedError())

    def _waiting(self) -> int:
        return sum(job.started is None and not job.is_aborted for job in self._jobs.values())


def _tell(job: Job, item: EngineEndedError | None) -> None:
    try:
        job.stream.loop.call_soon_threadsafe(job.stream.receive, item)
    except RuntimeError:
        return  # its loop is closed: nobody waits there
