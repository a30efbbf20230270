"""The goals of the bench; a busy computer gets some more time for a decision, and no more memory."""

from bench.machine_hook import DECISION_MS, WORKER_MIB, p99_milliseconds, worker_mib


def test_a_decision_takes_a_fraction_of_a_call() -> None:
    assert p99_milliseconds(600) < 5 * DECISION_MS


def test_a_worker_with_azure_stays_below_120_mib() -> None:
    assert worker_mib() < WORKER_MIB
