"""What `GET /metrics` of the server counts."""

from functools import partial

from prometheus_client import Counter, Gauge, Histogram

from kaito_runtime.pod.metrics import process_registry

LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds of a chat: from a few tokens of a small model to a long answer behind a full queue."""


class ServerMetrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = process_registry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.ready = gauge("kaito_ready", "1 once a token has been generated.")
        self.answered = counter("kaito_chat_requests_total", "Chats that were answered.")
        self.refused = counter(
            "kaito_chat_refused_total", "Chats that were refused for what they ask (4xx)."
        )
        self.rejected = counter(
            "kaito_chat_rejected_total",
            "Chats that found the queue full or the model absent (503).",
        )
        self.failed = counter("kaito_chat_failed_total", "Chats that failed (500).")
        self.connections = gauge("kaito_connections", "Open connections.")
        self.dropped = counter(
            "kaito_connections_dropped_total",
            "Connections closed for being too slow, large or many.",
        )
        self.running = gauge("kaito_chat_running", "Chats in progress, waiting ones included.")
        self.waiting = gauge("kaito_chat_waiting", "Chats that wait for their turn.")
        self.seconds = counter(
            "kaito_chat_seconds_total", "Time from request to reply, summed over answered chats."
        )
        self.latency = histogram(
            "kaito_chat_duration_seconds",
            "Time from request to reply of answered chats.",
            buckets=LATENCY_BUCKETS,
        )
        self.prompt_tokens = counter("kaito_prompt_tokens_total", "Tokens of the prompts answered.")
        self.generated_tokens = counter("kaito_generated_tokens_total", "Tokens generated.")

    def count_answer(self, seconds: float, prompt_tokens: int, generated_tokens: int) -> None:
        """Count a chat that was answered."""
        self.answered.inc()
        self.seconds.inc(seconds)
        self.latency.observe(seconds)
        self.prompt_tokens.inc(prompt_tokens)
        self.generated_tokens.inc(generated_tokens)
