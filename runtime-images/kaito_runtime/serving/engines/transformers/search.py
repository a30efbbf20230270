"""What slots can't do: a request of its own through transformers' generate(), between whose steps the
others go on.

Beams, and sampling methods that have no neutral name; every request of a model whose cache is not plain;
a sequence that is long enough to change the position encoding of its whole batch.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList

from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import Delta, FinishReason
from kaito_runtime.serving.engines.delivery import Delivery
from kaito_runtime.serving.engines.rows import Choice, Job, Row
from kaito_runtime.serving.engines.transformers.drawing import LARGEST_SCORE
from kaito_runtime.serving.engines.transformers.failures import answer_to, raise_if_lost
from kaito_runtime.serving.engines.transformers.forward import NO_ADAPTERS, AdapterRows
from kaito_runtime.serving.engines.transformers.penalties import Penalties
from kaito_runtime.serving.sampling import SEQUENCES_LIMIT, RequestRefusedError, Sampling

BEAMS = "num_beams"


class Search:
    """Runs one job on the engine's thread."""

    def __init__(self, model: Any, tokenizer: Any, adapter_rows: AdapterRows, vocabulary: int):
        self._model = model
        self._tokenizer = tokenizer
        self._adapter_rows = adapter_rows
        self._vocabulary = vocabulary

    def check(self, job: Job) -> None:
        """Raise RequestRefusedError for what generate() would not refuse, and suffer from."""
        sampling = job.request.sampling
        for field in ("structure", "logprobs"):
            if getattr(sampling, field) is not None:
                raise RequestRefusedError(
                    "is not possible together with beams or this model", field
                )
        self._check_beams(sampling)
        for key, value in sampling.search.items():
            if not key.endswith("token_id"):
                continue
            for token in value if isinstance(value, list) else [value]:
                if token is not None and not _is_between(0, token, self._vocabulary - 1):
                    raise RequestRefusedError(
                        f"must be a token from 0 to {self._vocabulary - 1}", key
                    )

    def _check_beams(self, sampling: Sampling) -> None:
        beams = sampling.search.get(BEAMS, 1)
        if not _is_between(1, beams, SEQUENCES_LIMIT):
            raise RequestRefusedError(f"must be a number from 1 to {SEQUENCES_LIMIT}", BEAMS)
        if beams == 1:
            return
        if sampling.n > beams:
            raise RequestRefusedError(f"must be at most num_beams, which is {beams}", "n")
        if sampling.presence_penalty or sampling.frequency_penalty:
            raise RequestRefusedError("is not possible together with beams", "presence_penalty")

    def prove(self, weights: Mapping[str, float] = NO_ADAPTERS) -> None:
        """Generate one token with these adapters; raises what the model raises."""
        with torch.inference_mode(), self._adapter_rows([weights]):
            ids = torch.zeros((1, 1), dtype=torch.long, device=self._model.device)
            self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=self._tokenizer.pad_token_id or 0,
                stopping_criteria=[],
            )

    def run(
        self,
        job: Job,
        rows: Sequence[Row],
        take: Callable[[Row, int], None],
        between: Callable[[], None],
    ) -> None:
        """Generate the rows of a job; `take` gets each token, `between` lets the others go on.

        Raises what generate() raises.
        """
        choice, count = job.choice, len(rows)
        beams = int(job.request.sampling.search.get(BEAMS, 1))
        ids = torch.tensor([job.ids], device=self._model.device)
        steps = _Steps(job, rows, take, between, streams=beams == 1)
        if choice.seed is not None:
            torch.manual_seed(choice.seed)
        with (
            torch.inference_mode(),
            self._adapter_rows([job.weights] * max(count, beams)),
        ):
            made = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                stopping_criteria=[steps],
                logits_processor=LogitsProcessorList(_processors(choice, rows, ids.device)),
                **_arguments(job, self._tokenizer),
            )
        if beams > 1:
            steps.take_all(made.tolist())


class Searches:
    """The queue of the requests that are answered this way."""

    def __init__(self, search: Search, tokenizer: Any, prove: Callable[[], None]):
        self._search = search
        self._tokenizer = tokenizer
        self._prove = prove
        self._queue: deque[Job] = deque()
        self._delivery = Delivery()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._queue)

    def add(self, job: Job) -> None:
        """Queue a request."""
        self._queue.append(job)

    def run_one(self, between: Callable[[], None]) -> None:
        """Answer the first that waits; raises Failure when the device is lost."""
        if not self._queue:
            return
        job = self._queue.popleft()
        if job.is_aborted:
            return
        job.started = time.monotonic()
        rows = [Row(job, index, self._tokenizer) for index in range(job.request.sampling.n)]
        answer: Exception | None = None
        try:
            self._search.run(job, rows, self._take, between)
            for row in rows:
                if not row.is_ended:
                    self._deliver(row, row.end(FinishReason.LENGTH))
        except Failure:
            raise
        except BaseException as error:  # noqa: BLE001  generate() raises what it likes
            answer = _failure_of(error)  # without its traceback, which holds the tensors
            self._prove()
        self._delivery.add(job.stream, answer)
        self._delivery.send()

    def _take(self, row: Row, token: int) -> None:
        delta = row.accept(token)
        if delta is not None:
            self._deliver(row, delta)

    def _deliver(self, row: Row, delta: Delta) -> None:
        self._delivery.add(row.job.stream, delta)
        self._delivery.send()


def _failure_of(error: BaseException) -> Exception:
    """Return what a request is told of an error of generate(); raises Failure for a lost device."""
    raise_if_lost(error)
    if isinstance(error, ValueError | TypeError | LookupError | OverflowError | RecursionError):
        first = str(error).partition("\n")[0]
        return RequestRefusedError(f"is not valid: {first}", "search")
    return answer_to(error)


def _arguments(job: Job, tokenizer: Any) -> dict[str, Any]:
    choice, sampling = job.choice, job.request.sampling
    is_drawn = choice.temperature > 0
    arguments: dict[str, Any] = {
        "max_new_tokens": choice.max_tokens,
        "min_new_tokens": choice.min_tokens or None,
        "do_sample": is_drawn,
        "temperature": choice.temperature if is_drawn else None,
        "top_k": choice.top_k if is_drawn else None,
        "top_p": choice.top_p if is_drawn else None,
        "min_p": choice.min_p or None if is_drawn else None,
        "repetition_penalty": choice.repetition_penalty,
        "num_return_sequences": sampling.n,
        "pad_token_id": tokenizer.pad_token_id or 0,
        "eos_token_id": sorted(choice.ends) or None,
    }
    return {**arguments, **sampling.search}


def _processors(choice: Choice, rows: Sequence[Row], device: torch.device) -> list[Any]:
    found: list[Any] = [_FiniteScores()]
    if choice.logit_bias:
        found.append(_Bias(choice.logit_bias, device))
    if choice.presence_penalty or choice.frequency_penalty:
        found.append(_AnswerPenalties(rows, device))
    return found


class _Steps:
    """A stopping criterion of transformers: hands over each step's tokens, and ends who is done."""

    def __init__(
        self,
        job: Job,
        rows: Sequence[Row],
        take: Callable[[Row, int], None],
        between: Callable[[], None],
        *,
        streams: bool,
    ):
        self._job, self._rows = job, rows
        self._take, self._between = take, between
        self._streams = streams
        self._done: set[int] = set()

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are done, [rows] bool."""
        self._between()
        late = self._job.deadline is not None and time.monotonic() >= self._job.deadline
        if self._job.is_aborted or late or not self._streams:
            return torch.full(
                (len(input_ids),), self._job.is_aborted or late, device=input_ids.device
            )
        for number, token in enumerate(input_ids[:, -1].tolist()):
            if number not in self._done:
                self._take_one(number, token)
        done = [number in self._done for number in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)

    def take_all(self, sequences: Sequence[list[int]]) -> None:
        """Hand over sequences that were found as a whole, prompts included."""
        for number, sequence in enumerate(sequences[: len(self._rows)]):
            for token in sequence[len(self._job.ids) :]:
                if number not in self._done:
                    self._take_one(number, token)

    def _take_one(self, number: int, token: int) -> None:
        row = self._rows[number]
        self._take(row, token)
        if row.is_ended:
            self._done.add(number)


class _FiniteScores:
    """A logits processor of transformers: sampling from what is no number is the end of a GPU."""

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, [rows, vocabulary] float32, without NaN and infinities."""
        return scores.nan_to_num(nan=-LARGEST_SCORE).clamp(-LARGEST_SCORE, LARGEST_SCORE)


class _Bias:
    def __init__(self, bias: Any, device: torch.device):
        self._tokens = torch.tensor(list(bias), device=device)
        self._values = torch.tensor(list(bias.values()), device=device, dtype=torch.float32)

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, self._tokens] += self._values
        return scores


class _AnswerPenalties:
    def __init__(self, rows: Sequence[Row], device: torch.device):
        self._penalties = Penalties(rows, device, repetition=False)

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._penalties.apply(scores)
        return scores


def _is_between(least: int, value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
