"""The trainer's figures, and clients that do not take them off."""

import socket
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from kaito_runtime.pod import metrics
from kaito_runtime.pod.metrics import serve_in_background
from kaito_runtime.tuning.metrics import TuningMetrics


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    training = TuningMetrics()
    training.step.set(3)
    running = serve_in_background(training.registry, "127.0.0.1", 0)
    yield running
    running.shutdown()
    running.server_close()


def scrape(server: ThreadingHTTPServer) -> str:
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    text: str = urllib.request.urlopen(url, timeout=10).read().decode()
    return text


def test_a_scrape_has_the_figures(server: ThreadingHTTPServer) -> None:
    assert "kaito_tuning_step 3" in scrape(server)


def test_what_has_no_value_yet_is_not_a_number(server: ThreadingHTTPServer) -> None:
    text = scrape(server)
    assert "kaito_tuning_loss NaN" in text
    assert "kaito_tuning_tokens_total 0.0" in text
    assert "_created" not in text


def test_two_trainings_of_one_process_count_apart() -> None:
    first, second = TuningMetrics(), TuningMetrics()
    first.tokens.inc(5)
    assert b"kaito_tuning_tokens_total 0.0" in generate_latest(second.registry)


def test_clients_beyond_the_limit_are_hung_up_on_and_make_no_threads(
    server: ThreadingHTTPServer,
) -> None:
    held = []
    for _ in range(metrics.SCRAPES_LIMIT):
        held.append(socket.create_connection(("127.0.0.1", server.server_port)))
        held[-1].sendall(b"GET /metrics HT")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as refused:
        assert refused.recv(1) == b""
    for client in held:
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):  # until the server has let go
            pass
        client.close()
    while True:  # a thread frees its place a moment after it has closed
        try:
            assert "kaito_tuning_step 3" in scrape(server)
            return
        except OSError:
            continue


def test_a_client_that_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SCRAPE_SECONDS", 0.02)
    running = serve_in_background(CollectorRegistry(), "127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", running.server_port), timeout=10) as silent:
        assert silent.recv(1) == b""
    running.shutdown()
    running.server_close()
