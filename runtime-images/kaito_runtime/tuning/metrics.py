"""What `GET /metrics` shows during a training."""

from functools import partial
from math import nan

from prometheus_client import Counter, Gauge

from kaito_runtime.pod.metrics import process_registry


class TuningMetrics:
    """The figures of one training; what has no value yet is NaN."""

    def __init__(self) -> None:
        self.registry = process_registry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.step = gauge("kaito_tuning_step", "Optimizer steps done.")
        self.steps = gauge("kaito_tuning_steps", "Optimizer steps planned.")
        self.epoch = gauge("kaito_tuning_epoch", "Epoch in progress, from 1.")
        self.loss = gauge("kaito_tuning_loss", "Mean loss of the last step.")
        self.eval_loss = gauge(
            "kaito_tuning_eval_loss", "Mean loss on the held-out rows after the last epoch."
        )
        self.learning_rate = gauge("kaito_tuning_learning_rate", "Learning rate of the last step.")
        self.tokens = counter(
            "kaito_tuning_tokens_total", "Tokens trained on, padding not counted."
        )
        for unknown in (self.loss, self.eval_loss, self.learning_rate):
            unknown.set(nan)
