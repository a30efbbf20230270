"""Queues and timers, on a clock that only the test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from itertools import pairwise
from typing import Any, Never

import pytest

from kaito_laptop.core.backoff import Backoff
from kaito_laptop.core.clock import RealClock, VirtualClock
from kaito_laptop.core.cluster import Conflict
from kaito_laptop.core.event_loop import EventLoop, NeverHappens, Queue, Retry


@pytest.fixture
def event_loop() -> Any:
    return EventLoop(VirtualClock())


def test_a_name_that_waits_is_not_queued_twice(event_loop: EventLoop) -> None:
    seen: list[str] = []
    queue: Queue[str] = Queue(event_loop, seen.append)
    queue.add_all(["a", "b", "a"])
    event_loop.settle()
    assert seen == ["a", "b"]


def test_a_name_that_is_added_while_it_is_looked_at_is_looked_at_again(
    event_loop: EventLoop,
) -> None:
    seen: list[str] = []

    def look(key: Any) -> None:
        seen.append(key)
        if len(seen) < 3:
            queue.add(key)

    queue: Queue[str] = Queue(event_loop, look)
    queue.add("a")
    event_loop.settle()
    assert seen == ["a", "a", "a"]


def test_of_two_moments_the_earlier_one_counts(event_loop: EventLoop) -> None:
    times = []
    queue: Queue[str] = Queue(event_loop, lambda key: times.append(event_loop.clock.seconds()))
    queue.add_after("a", 5)
    queue.add_after("a", 2)
    queue.add_after("a", 9)
    event_loop.advance(20)
    assert times == [2]


def test_failures_are_repeated_later_and_later_until_they_end(event_loop: EventLoop) -> None:
    """The first gaps that were measured on the real one begin with 5 ms and double."""
    times = []

    def look(key: Any) -> None:
        times.append(event_loop.clock.seconds())
        if len(times) < 5:
            raise Conflict("no")

    Queue(event_loop, look).add("a")
    event_loop.advance(10)
    gaps = [round(after - before, 3) for before, after in pairwise(times)]
    assert gaps == [0.005, 0.01, 0.02, 0.04]


def test_the_longest_delay_is_a_thousand_seconds() -> None:
    backoff: Backoff[Hashable] = Backoff(VirtualClock())
    assert [backoff.delay("a") for _ in range(40)][-1] == 1000
    backoff.forget("a")
    assert backoff.delay("a") == 0.005


def test_all_names_together_fail_ten_times_a_second_after_a_burst_of_a_hundred() -> None:
    backoff: Backoff[Hashable] = Backoff(VirtualClock())
    delays = [backoff.delay(name) for name in range(150)]
    assert delays[99] == 0.005
    assert delays[149] == pytest.approx(5)


def test_a_retry_with_its_own_delay_is_no_failure(event_loop: EventLoop) -> None:
    times = []

    def look(key: Any) -> Never:
        times.append(event_loop.clock.seconds())
        raise Retry("later", 3)

    Queue(event_loop, look).add("a")
    event_loop.advance(10)
    assert times == [0, 3, 6, 9]


def test_an_error_of_our_own_is_not_swallowed(event_loop: EventLoop) -> None:
    nothing: dict[str, None] = {}
    Queue(event_loop, nothing.__getitem__).add("a")
    with pytest.raises(KeyError):
        event_loop.settle()


def test_time_jumps_to_what_is_due(event_loop: EventLoop) -> None:
    happened = []
    event_loop.after(1800, lambda: happened.append(event_loop.clock.seconds()))
    event_loop.run_until(lambda: bool(happened))
    assert happened == [1800]


def test_waiting_for_what_never_comes_ends_with_the_reason(event_loop: EventLoop) -> None:
    with pytest.raises(NeverHappens, match="nothing is left to do"):
        event_loop.run_until(lambda: False)
    event_loop.every(10, lambda: None)
    with pytest.raises(NeverHappens, match="within 100 seconds"):
        event_loop.run_until(lambda: False, within=100)


def test_a_loop_that_never_rests_is_found(event_loop: EventLoop) -> None:
    queue: Queue[str] = Queue(event_loop, lambda key: queue.add(key))
    queue.add("a")
    with pytest.raises(NeverHappens, match="never rests"):
        event_loop.settle()


def test_what_is_cancelled_does_not_happen(event_loop: EventLoop) -> None:
    happened = []
    event_loop.after(1, lambda: happened.append("once")).cancel()
    repeated = event_loop.every(1, lambda: happened.append("again"))
    event_loop.advance(2)
    repeated.cancel()
    event_loop.advance(5)
    assert happened == ["again", "again"]


def test_a_shuffled_event_loop_does_the_same_work_in_another_order() -> None:
    orders = set()
    for seed in range(5):
        event_loop = EventLoop(VirtualClock(), seed)
        seen: list[str] = []
        for name in "abcd":
            queue: Queue[str] = Queue(event_loop, seen.append)
            queue.add(name)
        event_loop.settle()
        assert sorted(seen) == list("abcd")
        orders.add("".join(seen))
    assert len(orders) > 1


def test_other_threads_bring_work_to_an_event_loop_that_sleeps() -> None:
    event_loop = EventLoop(RealClock())
    threads: list[threading.Thread] = []
    event_loop.after(0.05, lambda: threads.append(threading.current_thread()))

    def bring() -> None:
        event_loop.post(lambda: threads.append(threading.current_thread()))
        while len(threads) < 2:
            time.sleep(0.001)
        event_loop.stop()

    threading.Thread(target=bring).start()
    event_loop.run()
    assert threads == [threading.current_thread()] * 2
