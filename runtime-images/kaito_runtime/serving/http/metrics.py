"""What `GET /metrics` of the server counts.

What vLLM counts too has vLLM's name, its buckets and its label `model_name` (the base), so that its
dashboards work; `adapter` is ours. The names are those of vLLM 0.32's page on production metrics.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import Counter, Histogram

from kaito_runtime.pod.metrics import process_registry
from kaito_runtime.serving.engine import Delta

FIRST_TOKEN_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
COUNT_BUCKETS = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
)  # fmt: skip
BY_ADAPTER = ("model_name", "adapter")
ABORTED = "abort"
"""vLLM's word for a request whose client left, or that failed."""


class ServerMetrics:
    """The figures of one server that are counted as things happen."""

    def __init__(self) -> None:
        self.registry = process_registry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, labelnames=BY_ADAPTER, registry=self.registry)
        self.errors = counter(
            "kaito_http_errors_total", "Answers with a status of 400 or more.", ("path", "status")
        )
        self.dropped = counter(
            "kaito_connections_dropped_total",
            "Connections closed for being too slow, large or many.",
        )
        self.prompt_tokens = counter("vllm:prompt_tokens_total", "Tokens of prompts.", BY_ADAPTER)
        self.generation_tokens = counter(
            "vllm:generation_tokens_total", "Tokens generated.", BY_ADAPTER
        )
        self.ended = counter(
            "vllm:request_success_total",
            "Sequences that ended, by the reason.",
            (*BY_ADAPTER, "finished_reason"),
        )
        self.first_token = histogram(
            "vllm:time_to_first_token_seconds",
            "From the request to its first token; of streamed requests alone where the engine does "
            "not say.",
            buckets=FIRST_TOKEN_BUCKETS,
        )
        self.between_tokens = histogram(
            "vllm:inter_token_latency_seconds",
            "From a token of a streamed sequence to the next.",
            buckets=TOKEN_BUCKETS,
        )
        self.per_token = histogram(
            "vllm:request_time_per_output_token_seconds",
            "From the first token of a sequence to its last, by the tokens after the first.",
            buckets=TOKEN_BUCKETS,
        )
        self.whole = histogram(
            "vllm:e2e_request_latency_seconds",
            "From the request to the end of its answer.",
            buckets=REQUEST_BUCKETS,
        )
        self.queued = histogram(
            "vllm:request_queue_time_seconds",
            "From the request to its first step.",
            buckets=REQUEST_BUCKETS,
        )
        self.prompt_length = histogram(
            "vllm:request_prompt_tokens", "Tokens of a prompt.", buckets=COUNT_BUCKETS
        )
        self.answer_length = histogram(
            "vllm:request_generation_tokens",
            "Tokens generated for a request.",
            buckets=COUNT_BUCKETS,
        )

    def request(
        self, model: str, adapter: str, count: int, clock: Callable[[], float] = time.monotonic
    ) -> "RequestFigures":
        """Begin to count a request for so many sequences."""
        return RequestFigures(self, {"model_name": model, "adapter": adapter}, count, clock)


class RequestFigures:
    """The figures of one request, counted with its deltas."""

    def __init__(
        self,
        metrics: ServerMetrics,
        labels: Mapping[str, str],
        count: int,
        clock: Callable[[], float],
    ):
        self._metrics = metrics
        self._labels = labels
        self._clock = clock
        self._begun = clock()
        self._last: dict[int, float] = {}
        """When each sequence has gained something last."""
        self._first: dict[int, float] = {}
        """When the first token of each sequence came."""
        self._tokens = [0] * count
        self._unfinished = set(range(count))
        self._generated = metrics.generation_tokens.labels(**labels)
        self._between = metrics.between_tokens.labels(**labels)
        self._prompt_tokens = 0

    def add(self, delta: Delta, *, streams: bool) -> None:
        """Count a delta; of one that stands for a whole sequence no time between tokens is known."""
        now, index = self._clock(), delta.index
        if not self._last:
            self._begin(delta)
        if index not in self._last:
            first = delta.first_token_seconds or (now - self._begun if streams else 0.0)
            if first:
                self._first[index] = self._begun + first
                self._metrics.first_token.labels(**self._labels).observe(first)
        elif delta.new_tokens:
            self._between.observe((now - self._last[index]) / delta.new_tokens)
        self._last[index] = now
        self._tokens[index] += delta.new_tokens
        self._generated.inc(delta.new_tokens)
        if delta.finish:
            self._unfinished.discard(index)
            self._ended(delta.finish)
            if index in self._first and self._tokens[index] > 1:
                seconds = max(0.0, now - self._first[index]) / (self._tokens[index] - 1)
                self._metrics.per_token.labels(**self._labels).observe(seconds)

    def end(self) -> None:
        """Count what the request came to; sequences without an end were aborted."""
        if not self._last:  # it was refused, or left while it waited
            return
        for _ in self._unfinished:
            self._ended(ABORTED)
        self._metrics.answer_length.labels(**self._labels).observe(sum(self._tokens))
        if not self._unfinished:
            self._metrics.whole.labels(**self._labels).observe(self._clock() - self._begun)

    def _begin(self, delta: Delta) -> None:
        self._metrics.prompt_tokens.labels(**self._labels).inc(delta.prompt_tokens)
        self._metrics.prompt_length.labels(**self._labels).observe(delta.prompt_tokens)
        self._metrics.queued.labels(**self._labels).observe(delta.queued_seconds)

    def _ended(self, reason: str) -> None:
        self._metrics.ended.labels(**self._labels, finished_reason=reason).inc()
