"""The training loop: which rows are trained on, the optimizer's steps, the learning rate."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaito_contract.reasons import Reason
from kaito_contract.sections import DatasetConfig, TrainingArguments
from kaito_runtime.pod.progress import RateLimit
from kaito_runtime.pod.termination import Failure
from kaito_runtime.tuning.config import TrainingConfig
from kaito_runtime.tuning.encode import TokenizedExample, batches
from kaito_runtime.tuning.metrics import TuningMetrics

if TYPE_CHECKING:  # which imports torch
    from kaito_runtime.tuning.packing import ForwardPass


@dataclass(frozen=True, slots=True)
class TrainingResult:
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
    forward: "ForwardPass",
    examples: Sequence[TokenizedExample],
    config: TrainingConfig,
    metrics: TuningMetrics,
) -> TrainingResult:
    """Run the optimizer over the rows; the loss of a step is the mean over its labels."""
    from kaito_runtime.models.adapters import trainable_parameters

    training = config.training
    kept, held_out = split(examples, config.dataset)
    lengths = [len(example) for example in kept]
    order = random.Random(config.dataset.shuffle_seed) if config.dataset.shuffle_dataset else None  # noqa: S311  reproducible, no secret
    epoch_batches = batches(lengths, training, order)
    total = planned_steps(len(epoch_batches), training)
    metrics.steps.set(total)
    optimizer = adamw(trainable_parameters(forward.model), training)
    schedule = scheduler(optimizer, total, training)
    progress = RateLimit()
    losses: list[float] = []
    epoch, tokens, eval_loss = 0, 0, None
    started = time.monotonic()
    forward.model.train()
    while len(losses) < total:
        epoch += 1
        metrics.epoch.set(epoch)
        for rows in epoch_batches[: total - len(losses)]:
            metrics.learning_rate.set(schedule.get_last_lr()[0])
            loss = step(forward, [kept[row] for row in rows], training, optimizer)
            schedule.step()
            losses.append(loss)
            if not math.isfinite(loss):
                raise _not_finite(len(losses), training)
            learnt = sum(lengths[row] for row in rows)
            tokens += learnt
            metrics.loss.set(loss)
            metrics.step.set(len(losses))
            metrics.tokens.inc(learnt)
            every = training.logging_steps
            is_last = len(losses) == total
            if is_last or (len(losses) % every == 0 if every else progress.is_due()):
                speed = tokens / (time.monotonic() - started)
                share = 100 * len(losses) // total
                print(
                    f"step {len(losses)}/{total} ({share} %) loss {loss:.3f} {speed:,.0f} tokens/s",
                    flush=True,
                )
        if held_out:
            eval_loss = evaluate(forward, held_out, training.max_length)
            metrics.eval_loss.set(eval_loss)
            print(f"epoch {epoch}: held-out loss {eval_loss:.3f}", flush=True)
        epoch_batches = batches(lengths, training, order)
    seconds = time.monotonic() - started
    return TrainingResult(len(losses), epoch, losses[0], losses[-1], seconds, tokens, eval_loss)


def adamw(parameters: Sequence[Any], training: TrainingArguments) -> Any:
    """Return the optimizer of the configuration."""
    import torch

    return torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        betas=(training.adam_beta1, training.adam_beta2),
        eps=training.adam_epsilon,
        weight_decay=training.weight_decay,
        fused=True,
    )


def scheduler(optimizer: Any, total: int, training: TrainingArguments) -> Any:
    """Return transformers' schedule of the learning rate over so many steps."""
    from transformers import get_scheduler

    warmup = training.warmup_steps or math.ceil(total * training.warmup_ratio)
    return get_scheduler(
        training.lr_scheduler_type, optimizer, num_warmup_steps=warmup, num_training_steps=total
    )


def step(
    forward: "ForwardPass",
    examples: Sequence[TokenizedExample],
    training: TrainingArguments,
    optimizer: Any,
) -> float:
    """Do one optimizer step and return its mean loss."""
    import torch

    labels = sum(label >= 0 for example in examples for label in example.labels)
    optimizer.zero_grad(set_to_none=True)
    loss = 0.0
    for summed in forward.losses(examples, training.max_length):
        (summed.loss / labels).backward()
        loss += float(summed.loss.detach()) / labels
    if training.max_grad_norm and math.isfinite(loss):
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
    optimizer.step()
    return loss


def evaluate(
    forward: "ForwardPass", examples: Sequence[TokenizedExample], max_length: int
) -> float:
    """Return the mean loss over rows that are not trained on."""
    import torch

    forward.model.eval()
    with torch.no_grad():
        summed = list(forward.losses(examples, max_length))
    forward.model.train()
    return sum(float(each.loss) for each in summed) / max(1, sum(each.tokens for each in summed))


def split(
    examples: Sequence[TokenizedExample], config: DatasetConfig
) -> tuple[list[TokenizedExample], list[TokenizedExample]]:
    """Return the rows to train on and those held out; those without a label are dropped."""
    usable = [each for each in examples if any(label >= 0 for label in each.labels)]
    if not usable:
        raise Failure(
            Reason.DATA_EMPTY,
            "no row has a token to learn: with `assistant_only_loss` each row needs a message of "
            "the assistant within `max_length` tokens",
        )
    count = max(1, round(len(usable) * config.train_test_split))
    if count < len(usable):
        random.Random(config.shuffle_seed).shuffle(usable)  # noqa: S311  reproducible, no secret
    return usable[:count], usable[count:]


def planned_steps(per_epoch: int, training: TrainingArguments) -> int:
    """Return the number of optimizer steps of the whole run."""
    if training.max_steps > 0:
        return training.max_steps
    return max(1, math.ceil(per_epoch * training.num_train_epochs))


def _not_finite(step_number: int, training: TrainingArguments) -> Failure:
    return Failure(
        Reason.LOSS_NOT_FINITE,
        f"the loss is no longer a finite number at step {step_number}; write a smaller "
        f"`TrainingArguments.learning_rate` (now {training.learning_rate:g}), or "
        '`ModelConfig.torch_dtype: "bfloat16"` instead of float16',
    )
