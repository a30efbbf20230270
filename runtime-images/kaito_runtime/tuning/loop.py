"""The training loop: which rows are trained on, the optimizer's steps, the learning rate."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig, TrainingArguments
from kaito_runtime.pod.progress import Pace
from kaito_runtime.pod.termination import Failure
from kaito_runtime.tuning.config import TrainingConfig
from kaito_runtime.tuning.metrics import TuningMetrics


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training run came to."""

    steps: int
    epochs: int
    first_loss: float
    last_loss: float
    seconds: float
    tokens: int
    """Tokens that went through the model, padding not counted."""
    eval_loss: float | None = None


def train(
    model: Any,
    documents: Sequence[Any],
    config: TrainingConfig,
    passes: Any,
    metrics: TuningMetrics,
) -> Trained:
    """Run the optimizer over the documents; the loss of a step is the mean over its labels."""
    import torch

    from kaito_runtime.models.adapters import trainable_parameters
    from kaito_runtime.tuning.encode import steps_of

    training = config.training
    kept, held_out = split(documents, config.dataset)
    lengths = [len(document) for document in kept]
    order = random.Random(config.dataset.shuffle_seed) if config.dataset.shuffle_dataset else None
    parameters = trainable_parameters(model)
    optimizer = torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        weight_decay=training.weight_decay,
        fused=True,
    )
    epoch_steps = steps_of(lengths, training, order)
    total = planned_steps(len(epoch_steps), training)
    metrics.steps.set(total)
    pace = Pace()
    losses: list[float] = []
    epoch, tokens, eval_loss = 0, 0, None
    started = time.monotonic()
    model.train()
    while len(losses) < total:
        epoch += 1
        for rows in epoch_steps[: total - len(losses)]:
            rate = learning_rate(len(losses), total, training)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = step(model, [kept[row] for row in rows], training, passes, optimizer, parameters)
            losses.append(loss)
            if not math.isfinite(loss):
                raise _not_finite(len(losses), training)
            trained = sum(lengths[row] for row in rows)
            tokens += trained
            metrics.loss.set(loss)
            metrics.step.set(len(losses))
            metrics.epoch.set(epoch)
            metrics.learning_rate.set(rate)
            metrics.tokens.inc(trained)
            every = training.logging_steps
            is_last = len(losses) == total
            if is_last or (len(losses) % every == 0 if every else pace.is_due()):
                speed = tokens / (time.monotonic() - started)
                share = 100 * len(losses) // total
                print(
                    f"step {len(losses)}/{total} ({share} %) loss {loss:.3f} {speed:,.0f} tokens/s",
                    flush=True,
                )
        if held_out:
            eval_loss = evaluate(model, held_out, training, passes)
            metrics.eval_loss.set(eval_loss)
            print(f"epoch {epoch}: held-out loss {eval_loss:.3f}", flush=True)
        epoch_steps = steps_of(lengths, training, order)
    seconds = time.monotonic() - started
    return Trained(len(losses), epoch, losses[0], losses[-1], seconds, tokens, eval_loss)


def step(
    model: Any,
    documents: Sequence[Any],
    training: TrainingArguments,
    passes: Any,
    optimizer: Any,
    parameters: Sequence[Any],
) -> float:
    """Do one optimizer step and return its mean loss."""
    import torch

    labels = sum(label >= 0 for document in documents for label in document.labels)
    optimizer.zero_grad(set_to_none=True)
    loss = 0.0
    for passed in passes.run(model, documents, training.max_length):
        (passed.loss / labels).backward()
        loss += float(passed.loss.detach()) / labels
    if training.max_grad_norm and math.isfinite(loss):
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
    optimizer.step()
    return loss


def evaluate(
    model: Any, documents: Sequence[Any], training: TrainingArguments, passes: Any
) -> float:
    """Return the mean loss over documents that are not trained on."""
    import torch

    model.eval()
    with torch.no_grad():
        passed = list(passes.run(model, documents, training.max_length))
    model.train()
    summed: float = sum(float(each.loss) for each in passed)
    tokens: int = sum(each.tokens for each in passed)
    return summed / max(1, tokens)


def split(documents: Sequence[Any], config: DatasetConfig) -> tuple[list[Any], list[Any]]:
    """Return the documents to train on and those held out; rows without a label are dropped."""
    usable = [d for d in documents if any(label >= 0 for label in d.labels)]
    if not usable:
        raise Failure(
            Reason.DATA_EMPTY,
            "no row has a token to learn: with `assistant_only_loss` each row needs a message of "
            "the assistant within `max_length` tokens",
        )
    count = max(1, round(len(usable) * config.train_test_split))
    if count < len(usable):
        random.Random(config.shuffle_seed).shuffle(usable)
    return usable[:count], usable[count:]


def planned_steps(per_epoch: int, training: TrainingArguments) -> int:
    """Return the number of optimizer steps of the whole run."""
    if training.max_steps > 0:
        return training.max_steps
    return max(1, math.ceil(per_epoch * training.num_train_epochs))


def learning_rate(done: int, total: int, training: TrainingArguments) -> float:
    """Return the rate of the next step; schedules as transformers.get_scheduler defines them."""
    kind = training.lr_scheduler_type
    warmup = training.warmup_steps or math.ceil(total * training.warmup_ratio)
    if kind == "constant":
        return training.learning_rate
    if done < warmup:
        return training.learning_rate * done / max(1, warmup)
    if kind == "constant_with_warmup":
        return training.learning_rate
    share = (done - warmup) / max(1, total - warmup)
    falling = 0.5 * (1 + math.cos(math.pi * share)) if kind == "cosine" else 1 - share
    return training.learning_rate * falling


def _not_finite(step_number: int, training: TrainingArguments) -> Failure:
    return Failure(
        Reason.LOSS_NOT_FINITE,
        f"the loss is no longer a finite number at step {step_number}; write a smaller "
        f"`TrainingArguments.learning_rate` (now {training.learning_rate:g}), or "
        '`ModelConfig.torch_dtype: "bfloat16"` instead of float16',
    )
