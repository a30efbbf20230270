"""A sequence that is being generated, and the request that it belongs to."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaito_runtime.serving.engine import Delta, FinishReason, GenerationRequest, TokenLogprob
from kaito_runtime.serving.engines.delivery import DeltaStream
from kaito_runtime.serving.engines.detokenizer import Detokenizer, StopTexts
from kaito_runtime.serving.engines.structure import Structure


@dataclass(frozen=True, slots=True)
class Choice:
    """How the tokens of a sequence are chosen, with the model's defaults filled in."""

    temperature: float = 0.0
    """0: the likeliest token."""
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    seed: int | None = None
    min_tokens: int = 0
    max_tokens: int = 1
    ends: frozenset[int] = frozenset()
    """Tokens at which the sequence ends."""


@dataclass(eq=False)
class Job:
    """A request on its way through the engine."""

    request: GenerationRequest
    stream: DeltaStream
    ids: list[int] = field(default_factory=list)
    """Tokens of the prompt."""
    choice: Choice = field(default_factory=Choice)
    structure: Structure | None = None
    """What every sequence of the request begins with."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Adapters and their strengths."""
    arrived: float = field(default_factory=time.monotonic)
    started: float | None = None
    """When it stopped waiting."""
    deadline: float | None = None
    is_search: bool = False
    """Whether it is answered by generate()."""
    is_aborted: bool = False
    is_suspect: bool = False
    """A step with it has raised: it is tried alone before it joins others."""
    rows_left: int = 1

    @property
    def key(self) -> tuple[tuple[str, float], ...]:
        """What keys and values depend on beside the tokens."""
        return tuple(sorted(self.weights.items()))


class Row:
    """One of the sequences of a request."""

    def __init__(self, job: Job, index: int, tokenizer: Any):
        self.job, self.index = job, index
        self.tokens = list(job.ids)
        """Prompt and answer."""
        self.cached = 0
        """How many of them have keys and values in the slot."""
        self.reused = 0
        """Of these, how many were not computed for this row."""
        seed = job.choice.seed
        self.random = random.Random(None if seed is None else f"{seed}/{index}")  # noqa: S311  sampling
        self.structure = job.structure.copy() if job.structure else None
        self.is_ended = False
        request = job.request
        self._detokenizer = Detokenizer(
            tokenizer, job.ids, skip_special_tokens=request.skip_special_tokens
        )
        sampling = request.sampling
        self._stops = StopTexts(sampling.stop, include=sampling.include_stop)
        self._text = ""
        self._logprobs: list[TokenLogprob] = []
        self._unsent = 0
        self._first: float | None = None
        self._sends_steps = request.streams
        self._needs_text = request.streams or bool(sampling.stop)

    @property
    def made(self) -> int:
        """How many tokens the answer has."""
        return len(self.tokens) - len(self.job.ids)

    @property
    def is_decoding(self) -> bool:
        """Whether one token is left to compute, the last one."""
        return self.cached == len(self.tokens) - 1 and self.made > 0

    @property
    def needs_more(self) -> bool:
        """Whether its ends are not to be chosen yet."""
        return self.made < self.job.choice.min_tokens

    def accept(self, token: int, logprobs: Sequence[TokenLogprob] = ()) -> Delta | None:
        """Add the chosen token; return what there is to send."""
        self.tokens.append(token)
        self._unsent += 1
        self._first = self._first or time.monotonic()
        choice = self.job.choice
        finish = None
        if token in choice.ends:
            finish = FinishReason.STOP
        else:
            self._logprobs += logprobs
            if self.structure:
                self.structure.advance(token)
            if self._is_stopped_by(token) or (self.structure and self.structure.is_complete):
                finish = FinishReason.STOP
            elif self.made >= choice.max_tokens or self._is_late():
                finish = FinishReason.LENGTH
        if finish:
            return self.end(finish)
        return self._delta(None) if self._sends_steps and self._text else None

    def end(self, finish: FinishReason) -> Delta:
        """Return the last delta."""
        self.is_ended = True
        if not self._stops.has_ended:
            shown, _ = self._stops.add(self._detokenizer.flush())
            self._text += shown + self._stops.flush()
        return self._delta(finish)

    def _delta(self, finish: FinishReason | None) -> Delta:
        text, self._text = self._text, ""
        logprobs, self._logprobs = tuple(self._logprobs), []
        count, self._unsent = self._unsent, 0
        queued = (self.job.started or self.job.arrived) - self.job.arrived
        return Delta(
            text=text,
            index=self.index,
            new_tokens=count,
            prompt_tokens=len(self.job.ids),
            cached_tokens=self.reused,
            queued_seconds=queued,
            first_token_seconds=(self._first or self.job.arrived) - self.job.arrived,
            logprobs=logprobs,
            finish=finish,
        )

    def _is_stopped_by(self, token: int) -> bool:
        if not self._needs_text:
            self._detokenizer.hold(token)
            return False
        shown, is_stopped = self._stops.add(self._detokenizer.add(token))
        self._text += shown
        return is_stopped

    def _is_late(self) -> bool:
        deadline = self.job.deadline
        return deadline is not None and time.monotonic() >= deadline
