"""Runs controllers in one thread: queues of names, timers, and what other threads bring.

A story runs on a virtual clock: it settles what is ready, then jumps to the next timer. `kaito up`
runs the same controllers on the real clock.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from itertools import count
from random import Random
from typing import Generic, Protocol, TypeVar

from kaito_laptop.core.backoff import Backoff
from kaito_laptop.core.clock import Clock, VirtualClock
from kaito_laptop.core.cluster import ClusterError

K = TypeVar("K", bound=Hashable)
PATIENCE_STEPS = 100_000

log = logging.getLogger(__name__)


class Retry(Exception):
    """Try the same name again, with the back-off of repeated failures or after some seconds."""

    def __init__(self, why: str, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class NeverHappens(AssertionError):
    """The story waits for something that will not happen."""


class Timer:
    """Something to do later, unless it is cancelled."""

    def __init__(self, due: float, act: Callable[[], None]) -> None:
        self.due = due
        self._act: Callable[[], None] | None = act

    def cancel(self) -> None:
        """Make sure that it does not happen."""
        self._act = None

    def fire(self) -> None:
        """Do it, once."""
        act, self._act = self._act, None
        if act is not None:
            act()

    @property
    def is_pending(self) -> bool:
        """Whether it is still to happen."""
        return self._act is not None


class Ready(Protocol):
    """Whoever has work that can be done now."""

    def work(self) -> None:
        """Do the piece of work that was announced first."""
        ...


class EventLoop:
    """The one thread in which controllers and the cluster live."""

    def __init__(
        self, clock: Clock, shuffle: int | None = None, patience: int = PATIENCE_STEPS
    ) -> None:
        """With `shuffle`, a seed, work is done in another order; `patience` ends endless loops."""
        self.clock = clock
        self._patience = patience
        self._random = None if shuffle is None else Random(shuffle)  # noqa: S311  for a repeatable order
        self._ready: deque[Ready] = deque()
        self._slow: deque[Ready] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopped = False

    def announce(self, who: Ready, *, slow: bool = False) -> None:
        """Take note that somebody has one piece of work ready; the slow ones come last."""
        (self._slow if slow and self._random is None else self._ready).append(who)

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Do something after so many seconds."""
        timer = Timer(self.clock.seconds() + max(seconds, 0.0), act)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def every(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Do something again and again; cancelling the answer ends it."""
        whole = Timer(0, lambda: None)

        def again() -> None:
            if whole.is_pending:
                act()
                self.after(seconds, again)

        self.after(seconds, again)
        return whole

    def post(self, act: Callable[[], None]) -> None:
        """Do something in the event loop's thread; may be called from any thread."""
        with self._wake:
            self._posted.append(act)
            self._wake.notify()

    def step(self) -> bool:
        """Do one thing that can be done now; False if there is none."""
        if self._fire_due():
            return True
        with self._wake:
            posted = self._posted.popleft() if self._posted else None
        if posted is not None:
            posted()
            return True
        ready = self._ready or self._slow
        if not ready:
            return False
        if self._random is not None:
            ready.rotate(-self._random.randrange(len(ready)))
        ready.popleft().work()
        return True

    def settle(self) -> None:
        """Do all that can be done without the clock moving."""
        for _ in range(self._patience):
            if not self.step():
                return
        raise NeverHappens(f"still busy after {self._patience} steps: a loop that never rests")

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds pass, with everything that is due on the way."""
        clock = self._virtual()
        end = clock.seconds() + seconds
        self.settle()
        while (due := self._next_due()) is not None and due <= end:
            clock.advance_to(due)
            self.settle()
        clock.advance_to(end)

    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        """Let virtual time pass until something holds; raise `NeverHappens` if it does not."""
        clock = self._virtual()
        end = clock.seconds() + within
        for _ in range(self._patience):
            if reached():
                return
            if self.step():
                continue
            due = self._next_due()
            if due is None:
                raise NeverHappens("nothing is left to do and nothing is due")
            if due > end:
                raise NeverHappens(f"it did not happen within {within:g} seconds")
            clock.advance_to(due)
        raise NeverHappens(f"it did not happen within {self._patience} steps")

    def run(self) -> None:
        """Work on the real clock until `stop` is called."""
        while not self._stopped:
            if not self.step():
                self.wait()

    def wait(self, at_most: float | None = None) -> None:
        """Sleep until something is posted or due."""
        due = self._next_due()
        seconds = [] if due is None else [max(due - self.clock.seconds(), 0)]
        seconds += [] if at_most is None else [at_most]
        with self._wake:
            if not self._posted and not self._stopped:
                self._wake.wait(min(seconds, default=None))

    def stop(self) -> None:
        """End `run`; may be called from any thread."""
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def _virtual(self) -> VirtualClock:
        if not isinstance(self.clock, VirtualClock):
            raise TypeError("time can only be moved on a virtual clock")
        return self.clock

    def _next_due(self) -> float | None:
        while self._timers and not self._timers[0][2].is_pending:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _fire_due(self) -> bool:
        due = self._next_due()
        if due is None or due > self.clock.seconds():
            return False
        heapq.heappop(self._timers)[2].fire()
        return True


class Queue(Generic[K]):
    """Names to look at, each at most once at a time (as client-go's work queue)."""

    def __init__(
        self,
        event_loop: EventLoop,
        reconcile: Callable[[K], None],
        backoff: Backoff[K] | None = None,
        *,
        slow: bool = False,
    ) -> None:
        self._event_loop = event_loop
        self._reconcile = reconcile
        self._backoff = backoff or Backoff(event_loop.clock)
        self._slow = slow
        self._waiting: deque[K] = deque()
        self._queued: set[K] = set()
        self._later: dict[K, Timer] = {}

    def add(self, key: K) -> None:
        """Look at this name soon."""
        if key not in self._queued:
            self._queued.add(key)
            self._waiting.append(key)
            self._event_loop.announce(self, slow=self._slow)

    def add_all(self, keys: Iterable[K]) -> None:
        """Look at these names soon."""
        for key in keys:
            self.add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Look at this name later; of two moments the earlier one counts."""
        if seconds <= 0:
            self.add(key)
            return
        known = self._later.get(key)
        if known and known.is_pending and known.due <= self._event_loop.clock.seconds() + seconds:
            return
        if known:
            known.cancel()
        self._later[key] = self._event_loop.after(seconds, lambda: self._fire(key))

    def work(self) -> None:
        """Look at the first name; repeat failures later and later."""
        key = self._waiting.popleft()
        self._queued.discard(key)
        try:
            self._reconcile(key)
        except Retry as retry:
            if retry.after_seconds is None:
                self._fail(key)
            else:
                self.add_after(key, retry.after_seconds)
        except ClusterError as error:
            log.debug("Retrying %s: %s", key, error)
            self._fail(key)
        else:
            self._backoff.forget(key)

    def _fire(self, key: K) -> None:
        self._later.pop(key, None)
        self.add(key)

    def _fail(self, key: K) -> None:
        self.add_after(key, self._backoff.delay(key))
