"""GET /metrics of the model server: vLLM's names, per adapter; and Kaito's JSON."""

from __future__ import annotations

import json
import logging
import re
import types
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kaito_runtime.pod import host_metrics
from kaito_runtime.pod.host_metrics import gpu_figures
from kaito_runtime.serving.engine import AdapterInfo, Delta, FinishReason
from kaito_runtime.serving.http.metrics import ServerMetrics
from kaito_runtime.serving.http.state import ServerState
from kaito_runtime.serving.sampling import RequestRefusedError
from kaito_runtime.serving.start import StartLedger

from tests.harness.echo_engine import EchoEngine, verification
from tests.harness.http_server import http_server
from tests.harness.wire import ROOT

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def served(**more: Any) -> Iterator[tuple[str, EchoEngine]]:
    engine = EchoEngine(adapters=["poet"])
    with http_server(ServerState("text-generation", engine=engine, **more)) as url:
        yield url, engine


def post(url: str, **body: Any) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def scrape(url: str) -> Figures:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=20).read().decode()
    return figures_in(text)


def figures_in(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(figures: Figures, name: str, **labels: str) -> float:
    return figures[name, tuple(sorted(labels.items()))]


CHAT = {"messages": [{"role": "user", "content": "one two"}]}


def test_each_adapter_has_figures_of_its_own_under_the_name_of_the_base() -> None:
    with served() as (url, _):
        for model in ("default", "poet", "echo", "echo"):
            post(f"{url}/v1/chat/completions", model=model, stream=True, **CHAT)
        post(f"{url}/chat", prompt="one two")
        figures = scrape(url)
    counted = {
        adapter: of(figures, "vllm:generation_tokens_total", model_name="echo", adapter=adapter)
        for adapter in ("default", "poet", "none")
    }
    assert counted == {"default": 6, "poet": 3, "none": 6}  # an end of text is a token
    named = {"model_name": "echo", "adapter": "none"}
    assert of(figures, "vllm:prompt_tokens_total", **named) == 6
    assert of(figures, "vllm:request_success_total", **named, finished_reason="stop") == 2
    for name in ("vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds",
                 "vllm:request_queue_time_seconds", "vllm:request_time_per_output_token_seconds",
                 "vllm:request_prompt_tokens", "vllm:request_generation_tokens"):  # fmt: skip
        assert of(figures, f"{name}_count", **named) == 2, name
    assert of(figures, "vllm:inter_token_latency_seconds_count", **named) == 4
    assert of(figures, "vllm:request_queue_time_seconds_sum", **named) == 0.5


def test_the_load_of_the_engine_is_read_at_the_scrape() -> None:
    with served() as (url, engine):
        figures = scrape(url)
        assert engine.load().cache_use == 0.5
    for name, value in {
        "vllm:num_requests_running": 0,
        "vllm:num_requests_waiting": 0,
        "vllm:kv_cache_usage_perc": 0.5,
        "vllm:prefix_cache_queries_total": 0,
        "vllm:prefix_cache_hits_total": 0,
        "vllm:num_preemptions_total": 0,
    }.items():
        assert of(figures, name, model_name="echo") == value


def test_what_was_proven_of_each_adapter_is_a_figure() -> None:
    with served() as (url, engine):
        engine.load_adapter("bard", Path("bard"), 1.0)
        figures = scrape(url)
    found = verification("poet")
    for name in ("bard", "poet"):
        verified = of(
            figures, "kaito_adapter_verified", adapter=name, base=str(found.base),
            tokenizer=str(found.tokenizer), template=str(found.template),
        )  # fmt: skip
        assert verified == 1.0
        difference = of(figures, "kaito_adapter_largest_difference", adapter=name)
        assert difference == found.largest_difference


def test_an_adapter_that_was_not_held_to_a_record_has_no_such_figure() -> None:
    with served() as (url, engine):
        engine.loaded["poet"] = AdapterInfo("poet")
        names = {name for name, _ in scrape(url)}
    assert not any(name.startswith("kaito_adapter") for name in names)


def test_before_the_model_is_there_the_server_has_figures_of_itself() -> None:
    with http_server(ServerState("text-generation")) as url:
        figures = scrape(url)
    assert of(figures, "kaito_ready") == 0
    assert of(figures, "kaito_connections") >= 1
    assert of(figures, "process_resident_memory_bytes") > 0


def test_no_figure_is_told_twice() -> None:
    with served() as (url, _):
        post(f"{url}/chat", prompt="a")
        text = urllib.request.urlopen(f"{url}/metrics", timeout=20).read().decode()
    described = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(described) == len(set(described))


def test_errors_are_counted_by_route_and_status_and_no_client_makes_up_a_label() -> None:
    with served() as (url, engine):
        post(f"{url}/chat", prompt="")
        post(f"{url}/v1/completions", prompt="a", model="gpt-4o")
        post(f"{url}/no/such/path")
        engine.trouble = RequestRefusedError("write less")
        post(f"{url}/v1/chat/completions", **CHAT)
        figures = scrape(url)
    counted = {dict(labels)["path"]: dict(labels)["status"] for name, labels in figures
               if name == "kaito_http_errors_total"}  # fmt: skip
    assert counted == {
        "/chat": "400", "/v1/completions": "404", "other": "404", "/v1/chat/completions": "400",
    }  # fmt: skip
    assert not any(name == "vllm:request_success_total" for name, _ in figures)


def test_a_request_is_timed_from_its_first_delta_to_its_last() -> None:
    metrics, now = ServerMetrics(), 100.0
    request = metrics.request("m", "none", 2, clock=lambda: now)
    now = 101.0
    request.add(Delta("a", prompt_tokens=7, queued_seconds=0.5), streams=True)
    now = 102.0
    request.add(Delta("b", index=1), streams=True)
    now = 104.0
    request.add(Delta("bc", new_tokens=2, finish=FinishReason.LENGTH), streams=True)
    request.end()
    figures, labels = exposed(metrics), {"model_name": "m", "adapter": "none"}
    assert of(figures, "vllm:time_to_first_token_seconds_sum", **labels) == 1.0 + 2.0
    assert of(figures, "vllm:inter_token_latency_seconds_sum", **labels) == 1.5
    assert of(figures, "vllm:request_time_per_output_token_seconds_sum", **labels) == 1.5
    assert of(figures, "vllm:request_success_total", **labels, finished_reason="length") == 1
    assert of(figures, "vllm:request_success_total", **labels, finished_reason="abort") == 1
    assert ("vllm:e2e_request_latency_seconds_count", tuple(sorted(labels.items()))) not in figures


def test_a_first_token_that_the_engine_has_timed_counts_where_nobody_streams() -> None:
    metrics = ServerMetrics()
    for seconds in (0.0, 2.0):
        clock = iter([100.0, 110.0, 110.0])
        request = metrics.request("m", "none", 1, clock=clock.__next__)
        whole = Delta("a b", new_tokens=5, first_token_seconds=seconds, finish=FinishReason.STOP)
        request.add(whole, streams=False)
        request.end()
    figures, labels = exposed(metrics), {"model_name": "m", "adapter": "none"}
    assert of(figures, "vllm:time_to_first_token_seconds_count", **labels) == 1
    assert of(figures, "vllm:time_to_first_token_seconds_sum", **labels) == 2.0
    assert of(figures, "vllm:request_time_per_output_token_seconds_sum", **labels) == 2.0
    assert of(figures, "vllm:e2e_request_latency_seconds_sum", **labels) == 20.0


def exposed(metrics: ServerMetrics) -> Figures:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_the_start_is_a_ledger_in_readiness_and_metrics() -> None:
    now = 0.0
    ledger = StartLedger(clock=lambda: now)
    with ledger.phase("weights"):
        now += 12.25
    for _ in range(2):
        with ledger.phase("adapters"):
            now += 0.5
    assert str(ledger) == "weights 12.2 s, adapters 1.0 s"
    with served(start=ledger) as (url, _):
        ready = json.loads(urllib.request.urlopen(f"{url}/readyz", timeout=20).read())
        assert ready == {"status": "Ready", "startSeconds": {"weights": 12.25, "adapters": 1.0}}
        assert of(scrape(url), "kaito_start_seconds", phase="adapters") == 1.0


def test_a_client_of_kaito_gets_the_figures_of_the_machine_as_json() -> None:
    with served() as (url, _):
        request = urllib.request.Request(f"{url}/metrics", headers={"Accept": "application/json"})
        figures = json.loads(urllib.request.urlopen(request, timeout=20).read())
    assert set(figures) == {"gpu_info", "cpu_info"}
    assert figures["gpu_info"] or figures["cpu_info"]["total_cores"] >= 1


def test_a_figure_that_the_driver_does_not_have_is_null_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def missing(index: int) -> int:
        raise RuntimeError("Not Supported")

    cuda = types.SimpleNamespace(
        mem_get_info=lambda index: (1 << 30, 4 << 30),
        get_device_name=lambda index: "GPU",
        utilization=lambda index: 25,
        temperature=missing,
    )
    host_metrics._log_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        figures = [gpu_figures(cuda, 0) for _ in range(3)]
    assert figures[0] == {
        "id": "0",
        "name": "GPU",
        "load": "25.00%",
        "temperature": None,
        "memory": {"used": "3.00 GB", "total": "4.00 GB"},
    }
    assert len(caplog.records) == 1
    assert "The temperature of the GPU is not known: RuntimeError: Not Supported" in caplog.text


def test_the_image_has_the_package_that_asks_the_driver() -> None:
    files = {path.name: path.read_text() for path in (ROOT / "requirements").glob("*.txt")}
    have_it = {name for name, text in files.items() if "\nnvidia-ml-py==" in text}
    assert have_it >= {"dev.txt", "inference.txt", "inference-vllm.txt"}
