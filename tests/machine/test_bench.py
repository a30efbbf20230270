"""The figures of design: a decision is far below the 15 ms of a call, a worker below 120 MiB."""

from machine.bench import p99_milliseconds, worker_mib


def test_a_decision_takes_a_fraction_of_a_call():
    assert p99_milliseconds(600) < 15


def test_a_worker_with_azure_stays_below_120_mib():
    assert worker_mib() < 120
