"""What vLLM counts, as the engine's load."""

import time
from dataclasses import replace
from typing import Any

from kaito_runtime.serving.engine import EngineLoad


class Statistics:
    """Takes vLLM's figures after each of its steps; has the methods of its stat loggers."""

    def __init__(self) -> None:
        self.stepped = time.monotonic()
        """When the last step ended."""
        self.load = EngineLoad()

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """Take the figures of a step; either may be None."""
        del mm_cache_stats, engine_idx
        self.stepped = time.monotonic()
        before, scheduler = self.load, scheduler_stats
        preemptions = before.preemptions
        if iteration_stats is not None:
            preemptions += iteration_stats.num_preempted_reqs
        if scheduler is None:
            self.load = replace(before, preemptions=preemptions)
            return
        prefixes = scheduler.prefix_cache_stats
        self.load = EngineLoad(
            running=scheduler.num_running_reqs,
            waiting=scheduler.num_waiting_reqs + scheduler.num_skipped_waiting_reqs,
            cache_use=scheduler.kv_cache_usage,
            prefix_tokens_queried=before.prefix_tokens_queried + prefixes.queries,
            prefix_tokens_found=before.prefix_tokens_found + prefixes.hits,
            preemptions=preemptions,
        )

    def log(self) -> None:
        """Write nothing: /metrics has the figures."""

    def log_engine_initialized(self) -> None:
        """Write nothing."""

    def record_sleep_state(self, *_: Any) -> None:
        """Take nothing: this engine does not sleep."""
