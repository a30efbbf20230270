"""What `GET /metrics` of the server reads at the time of the scrape."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kaito_runtime.serving.engine import AdapterInfo, EngineLoad
from kaito_runtime.serving.http.state import ServerState


def exposition(state: ServerState) -> bytes:
    """Return all figures of a server, in Prometheus' text."""
    live = CollectorRegistry(auto_describe=False)
    live.register(_Live(state))
    return generate_latest(state.metrics.registry) + generate_latest(live)


class _Live(Collector):
    """Figures that are made for one scrape."""

    def __init__(self, state: ServerState):
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        return families(self._state)


def families(state: ServerState) -> Iterator[Metric]:
    """Yield the state of the server and of its engine."""
    yield _gauge("kaito_ready", "1 once a token has been generated.", state.is_ready)
    yield _gauge("kaito_connections", "Open connections.", state.connections())
    yield _gauge(
        "kaito_requests_in_progress",
        "Requests for the engine that are not answered yet.",
        state.running,
    )
    start = GaugeMetricFamily(
        "kaito_start_seconds", "What a phase of the start took.", labels=["phase"]
    )
    for phase, seconds in state.start.seconds.items():
        start.add_metric([phase], seconds)
    yield start
    if state.engine is not None:
        yield from _of_engine(state.engine.load(), state.engine.model().name)
        yield from _of_adapters(state.engine.adapters())


def _of_engine(load: EngineLoad, model: str) -> Iterator[Metric]:
    yield _gauge("vllm:num_requests_running", "Sequences being generated.", load.running, model)
    yield _gauge("vllm:num_requests_waiting", "Requests that wait for it.", load.waiting, model)
    yield _gauge(
        "vllm:kv_cache_usage_perc", "Share of the key-value cache in use, 0 to 1.",
        load.cache_use, model,
    )  # fmt: skip
    yield _counter(
        "vllm:prefix_cache_queries", "Tokens of prompts looked up in the cache.",
        load.prefix_tokens_queried, model,
    )  # fmt: skip
    yield _counter(
        "vllm:prefix_cache_hits", "Tokens of prompts found in the cache.",
        load.prefix_tokens_found, model,
    )  # fmt: skip
    yield _counter(
        "vllm:num_preemptions", "Sequences taken off for lack of cache.", load.preemptions, model
    )


def _of_adapters(adapters: Sequence[AdapterInfo]) -> Iterator[Metric]:
    verified = GaugeMetricFamily(
        "kaito_adapter_verified",
        "1 for an adapter that was held to its record when it was loaded, with what came of it.",
        labels=["adapter", "base", "tokenizer", "template"],
    )
    difference = GaugeMetricFamily(
        "kaito_adapter_largest_difference",
        "Largest difference of the logits of one prompt with the adapter and without (vLLM: of log "
        "probabilities).",
        labels=["adapter"],
    )
    for each in adapters:
        if (found := each.verification) is not None:
            matches = [str(found.base), str(found.tokenizer), str(found.template)]
            verified.add_metric([each.name, *matches], 1.0)
            difference.add_metric([each.name], found.largest_difference)
    yield from (verified, difference)


def _gauge(name: str, text: str, value: float, model: str | None = None) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[] if model is None else ["model_name"])
    family.add_metric([] if model is None else [model], float(value))
    return family


def _counter(name: str, text: str, value: float, model: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=["model_name"])
    family.add_metric([model], value)
    return family
