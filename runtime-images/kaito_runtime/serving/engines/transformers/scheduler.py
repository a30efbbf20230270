"""Which rows run: who joins, who is computed in this step, who leaves.

A step computes some tokens of the prompts that have joined, and one token of every sequence that is being
written. What a forward pass raises is the answer of the request that is alone in it; a pass of several is
repeated with each of them alone.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from kaito_runtime.models import load as memory
from kaito_runtime.serving.engine import EngineLoad, GenerationFailedError
from kaito_runtime.serving.engines.delivery import Delivery
from kaito_runtime.serving.engines.detokenizer import Texts
from kaito_runtime.serving.engines.rows import Job, Row
from kaito_runtime.serving.engines.transformers.failures import answer_to, raise_if_lost
from kaito_runtime.serving.engines.transformers.prefixes import SHORTEST, PrefixCache
from kaito_runtime.serving.engines.transformers.replica import Replica
from kaito_runtime.serving.engines.transformers.sampler import Sampled, Sampler, described
from kaito_runtime.serving.engines.transformers.slots import Slots

log = logging.getLogger(__name__)

ROWS_LIMIT = 64
"""Sequences that are generated at once."""
PREFILL_TOKENS = {"cpu": 512, "cuda": 4096}
"""Tokens of prompts in one step: they hold up everyone who is being answered."""
_PREFIX_SHARE = 8
"""The prefix cache takes one part in so many of the memory."""


class Scheduler:
    """Runs on the engine's thread."""

    def __init__(
        self,
        replica: Replica,
        tokenizer: Any,
        *,
        budget: int,
        prove: Callable[[], None],
        rows_limit: int = ROWS_LIMIT,
    ):
        """Take what computes, the bytes for keys and values, and a proof that the device still works.

        `prove` raises Failure where it does not.
        """
        self._replica = replica
        self._tokenizer = tokenizer
        self._texts = Texts(tokenizer)
        prefixes = budget // _PREFIX_SHARE
        self._slots = Slots(replica, budget - prefixes)
        self._prefixes = PrefixCache(replica, prefixes)
        self._prove = prove
        self._rows_limit = rows_limit
        self._prefill_tokens = PREFILL_TOKENS.get(replica.model.device.type, PREFILL_TOKENS["cuda"])
        self._waiting: deque[Row] = deque()
        self._sampler: Sampler | None = None
        self._preemptions = 0
        self._delivery = Delivery()

    def add(self, job: Job) -> None:
        """Put the sequences of a request into the queue."""
        job.rows_left = job.request.sampling.n
        self._waiting.extend(Row(job, index, self._tokenizer) for index in range(job.rows_left))

    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        return not self._waiting and not len(self._slots)

    def load(self) -> EngineLoad:
        """How busy it is."""
        return EngineLoad(
            running=len(self._slots),
            cache_use=self._slots.use(),
            prefix_tokens_queried=self._prefixes.queried,
            prefix_tokens_found=self._prefixes.found,
            preemptions=self._preemptions,
        )

    def longest(self) -> int:
        """Return how many tokens a sequence can have if it is alone."""
        return self._slots.cells()

    @torch.inference_mode()  # for what moves keys and values too: they are made in it
    def step(self, now: Callable[[], float]) -> None:
        """Compute once; raises Failure when the device is lost."""
        self._drop_aborted()
        self._admit(now)
        for rows in self._together(self._filling()):
            self._compute(rows, self._prefill)
        for rows in self._together(self._slots.decoding):
            self._compute(rows, self._decode)
        self._delivery.send()

    def forget_prefixes(self) -> None:
        """Compute every prompt anew."""
        self._prefixes.clear()

    def _drop_aborted(self) -> None:
        for row in [row for row in self._slots if row.job.is_aborted]:
            self._leave(row)
        if any(row.job.is_aborted for row in self._waiting):
            self._waiting = deque(row for row in self._waiting if not row.job.is_aborted)

    def _admit(self, now: Callable[[], float]) -> None:
        postponed = []
        while self._waiting and len(self._slots) < self._rows_limit:
            row = self._waiting[0]
            if self._waits_for_its_like(row):
                postponed.append(self._waiting.popleft())
                continue
            length = max([len(row.tokens) + 1, *(len(each.tokens) + 1 for each in self._slots)])
            if len(self._slots) and not self._slots.fits(len(self._slots) + 1, length):
                break
            self._waiting.popleft()
            row.job.started = row.job.started or now()
            try:
                self._slots.reserve(len(self._slots) + 1, length)
            except Exception as error:  # noqa: BLE001  what the device raises
                self._no_memory(row, error)
                break
            self._slots.add(row)
            self._prefixes.fill(row, self._slots)
        self._waiting.extendleft(reversed(postponed))

    def _waits_for_its_like(self, row: Row) -> bool:
        """Whether a row with the same beginning is being computed: then this one copies it, later."""
        if len(row.tokens) <= SHORTEST:
            return False
        return any(
            other.job.key == row.job.key and other.tokens[:SHORTEST] == row.tokens[:SHORTEST]
            for other in self._slots.filling
        )

    def _filling(self) -> list[Row]:
        """Return the rows whose prompts are computed in this step, within the budget of tokens."""
        chosen: list[Row] = []
        length = 0
        for row in sorted(self._slots.filling, key=lambda row: row.job.arrived):
            length = length or self._chunk(row)
            if chosen and (len(chosen) + 1) * length > self._prefill_tokens:
                break
            chosen.append(row)
        return chosen

    def _chunk(self, row: Row) -> int:
        return min(len(row.tokens) - row.cached, self._prefill_tokens)

    def _together(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield who shares a forward pass: all, but for those that have to show that they can."""
        sound = [row for row in rows if not row.job.is_suspect]
        suspects = [row for row in rows if row.job.is_suspect]
        if sound:
            yield sound
        for row in suspects:
            yield [row]

    def _compute(self, rows: list[Row], way: Callable[[list[Row]], None]) -> None:
        try:
            way(rows)
        except BaseException as error:  # noqa: BLE001  models raise what they like
            self._sampler = None
            self._failed(rows, error)
        else:
            if len(rows) == 1 and rows[0].is_decoding and rows[0].made > 1:
                rows[0].job.is_suspect = False

    def _prefill(self, rows: list[Row]) -> None:
        length = self._chunk(rows[0])
        rows = self._reserve(rows, max(row.cached for row in rows) + length)
        if not rows:
            return
        chunks = [row.tokens[row.cached :][:length] for row in rows]
        scores = self._scores(rows, chunks)
        done = []
        for number, (row, chunk) in enumerate(zip(rows, chunks, strict=True)):
            row.cached += len(chunk)
            if row.cached == len(row.tokens):
                done.append(number)
        if not done:
            return
        finished = [rows[number] for number in done]
        sampled = Sampler(finished, scores.device).choose(scores[done])
        for row in finished:
            self._slots.begin_decoding(row)
        for row, choice in zip(finished, sampled, strict=True):
            self._take(row, choice)
        self._sampler = None

    def _decode(self, rows: list[Row]) -> None:
        rows = self._reserve(rows, max(len(row.tokens) for row in rows))
        if not rows:
            return
        scores = self._scores(rows, [row.tokens[-1:] for row in rows])
        is_all = len(rows) == len(self._slots.decoding)
        sampler = self._sampler if is_all else None
        sampler = sampler or Sampler(rows, scores.device)
        self._sampler = sampler if is_all else None
        chosen = sampler.choose(scores)
        for row in rows:  # of all, before one leaves and others move with what they have
            row.cached += 1
        for row, choice in zip(rows, chosen, strict=True):
            self._take(row, choice)

    def _scores(self, rows: Sequence[Row], tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        numbers = [self._slots.number(row) for row in rows]
        starts = [row.cached for row in rows]
        weights = [row.job.weights for row in rows]
        return self._replica.scores(tokens, numbers, starts, weights)

    def _take(self, row: Row, sampled: Sampled) -> None:
        if row.job.is_aborted:
            return  # it leaves before the next step, or has left with another sequence of its request
        try:
            delta = row.accept(sampled.token, described(sampled, self._texts))
        except BaseException as error:
            log.error("The tokens of an answer failed to decode", exc_info=error)
            self._refuse(row.job, GenerationFailedError("the tokens failed to decode"))
            return
        if delta is None:
            return
        self._delivery.add(row.job.stream, delta)
        if delta.finish:
            self._leave(row)
            row.job.rows_left -= 1
            if not row.job.rows_left:
                self._delivery.add(row.job.stream, None)

    def _leave(self, row: Row) -> None:
        self._prefixes.keep(row, self._slots)
        self._slots.remove(row)
        self._sampler = None

    def _reserve(self, rows: list[Row], length: int) -> list[Row]:
        """Make room for a step of some rows, and return those that stay: the youngest of all may leave."""
        while True:
            is_alone = len(self._slots) == 1
            if is_alone or self._slots.fits(len(self._slots), length):
                try:
                    self._slots.reserve(len(self._slots), length)
                    present = set(map(id, self._slots))
                    return [row for row in rows if id(row) in present]
                except Exception as error:
                    if is_alone or not memory.is_out_of_memory(error):
                        raise
                self._prefixes.clear()
                self._slots.shrink_budget()
            self._preempt()

    def _preempt(self) -> None:
        """Put the youngest row back into the queue; what it has is computed again later."""
        row = max(self._slots, key=lambda row: (row.job.arrived, row.index))
        self._slots.remove(row)
        self._sampler = None
        row.cached = 0
        self._waiting.appendleft(row)
        self._preemptions += 1

    def _failed(self, rows: list[Row], error: BaseException) -> None:
        """Answer a request that is alone in what it raised; try the others again, each alone."""
        raise_if_lost(error)
        if memory.is_out_of_memory(error):
            self._prefixes.clear()
        self._prove()
        present = set(map(id, self._slots))
        rows = [row for row in rows if id(row) in present]
        jobs = {id(row.job): row.job for row in rows}
        if len(jobs) > 1:
            for job in jobs.values():
                job.is_suspect = True
            return
        for job in jobs.values():
            self._refuse(job, answer_to(error))

    def _no_memory(self, row: Row, error: BaseException) -> None:
        if not memory.is_out_of_memory(error):
            raise error
        self._prefixes.clear()
        self._slots.shrink_budget()
        if len(self._slots):
            self._waiting.appendleft(row)
        else:
            self._refuse(row.job, answer_to(error))

    def _refuse(self, job: Job, answer: Exception) -> None:
        job.is_aborted = True
        self._delivery.add(job.stream, answer)
        self._drop_aborted()
