"""The engine: one thread, one model, and as many requests of equal settings per batch as there are.

Requests that arrive while a batch runs wait and form the next one. Rows of a batch have their own
length limit and end on their own; a row of its own settings waits its turn.
"""

import json
import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from kaito_runtime import model as memory
from kaito_runtime.chat import (
    ChatReply,
    ChatRequest,
    PromptTooLongError,
    QueueFullError,
    RequestRefusedError,
)
from kaito_runtime.tokenization import question_of_messages, question_of_text

WAITING_LIMIT = 128
BATCH_LIMIT = 32
COLLECT_SECONDS = 0.005
"""How long the first request of a batch waits for company."""

# What makes rows depend on more than their own length limit: such a request runs alone.
_ALONE = frozenset(
    {"num_return_sequences", "min_length", "min_new_tokens", "max_time", "num_beams"}
)
_ALONE_NEUTRAL = {"num_return_sequences": 1, "num_beams": 1, "min_length": 0, "min_new_tokens": 0}


@dataclass
class Job:
    """A request with its tokens and the promise of a reply."""

    request: ChatRequest
    reply: "Future[ChatReply]" = field(default_factory=Future)
    ids: list[int] = field(default_factory=list)
    new_tokens: int = 0
    """The most tokens to generate."""

    @property
    def settings(self) -> str:
        """What rows of one batch share."""
        without_length = {
            key: value
            for key, value in self.request.generation.items()
            if key not in ("max_length", "max_new_tokens")
        }
        return json.dumps(without_length, sort_keys=True)

    @property
    def runs_alone(self) -> bool:
        """Return true if the request can't share a batch."""
        given = self.request.generation
        return any(given.get(key) not in (None, _ALONE_NEUTRAL.get(key)) for key in _ALONE)


class RowLimits:
    """A stopping criterion of transformers: each row ends at its limit, or when nobody waits."""

    def __init__(self, jobs: Sequence[Job], prompt_length: int):
        self._jobs = jobs
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are done, [rows] bool."""
        made = input_ids.shape[1] - self._prompt_length
        done = [made >= job.new_tokens or job.reply.cancelled() for job in self._jobs]
        repeated = input_ids.shape[0] // len(done)
        return torch.tensor(done, device=input_ids.device).repeat_interleave(repeated)


class BatchingEngine:
    """A ChatEngine over transformers' generate()."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        renders_chat: bool = False,
        waiting_limit: int = WAITING_LIMIT,
    ):
        """Take a model in evaluation mode; with `renders_chat` a prompt is a message of the user."""
        self._renders_chat = renders_chat
        self._model = model
        self._tokenizer = tokenizer
        config = model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._waiting_limit = waiting_limit
        self._held_back: list[Job] = []
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: ChatRequest) -> "Future[ChatReply]":
        """Queue a request."""
        if self.waiting() >= self._waiting_limit:
            raise QueueFullError
        job = Job(request)
        self._queue.put(job)
        return job.reply

    def is_alive(self) -> bool:
        """Return true while the thread runs."""
        return self._thread.is_alive()

    def waiting(self) -> int:
        """Return the length of the queue."""
        return self._queue.qsize() + len(self._held_back)

    def stop(self) -> None:
        """Answer what is queued and join the thread: torch must not be cut off at exit."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        stopping = False
        while not (stopping and not self._held_back):
            if not self._held_back:
                first = self._queue.get()
                if first is None:
                    break
                self._held_back.append(first)
            stopping = self._collect() or stopping
            batch = self._next_batch()
            if batch:
                self._answer(batch)

    def _collect(self) -> bool:
        """Take what is queued; returns true when the engine is to stop."""
        timeout = COLLECT_SECONDS
        while True:
            try:
                job = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
            except queue.Empty:
                return False
            if job is None:
                return True
            self._held_back.append(job)
            timeout = COLLECT_SECONDS if len(self._held_back) < BATCH_LIMIT else 0

    def _next_batch(self) -> list[Job]:
        first, *others = self._held_back
        batch, self._held_back = [first], []
        for job in others:
            fits = not first.runs_alone and not job.runs_alone and job.settings == first.settings
            (batch if fits and len(batch) < BATCH_LIMIT else self._held_back).append(job)
        return [job for job in batch if self._prepare(job)]

    def _prepare(self, job: Job) -> bool:
        """Make the job's tokens; false if it is answered or cancelled already."""
        if job.reply.cancelled():
            return False
        try:
            self._encode(job)
        except RequestRefusedError as error:
            job.reply.set_exception(error)
            return False
        except Exception as error:  # chat templates raise what they like
            job.reply.set_exception(RequestRefusedError(f"the messages can't be used: {error}"))
            return False
        return True

    def _encode(self, job: Job) -> None:
        request = job.request
        job.ids = self._question(request)
        if not job.ids:
            raise RequestRefusedError("the prompt has no token; write some text")
        job.new_tokens = self._room(request, len(job.ids))
        room = max(1, self._context - job.new_tokens)
        if len(job.ids) > room and request.cut_long_prompt:
            job.ids = self._cut(request, job.ids, room)
        if len(job.ids) >= self._context:
            raise PromptTooLongError(
                f"the prompt has {len(job.ids)} tokens and the model's context {self._context}; "
                "write a shorter one"
            )
        job.new_tokens = min(job.new_tokens, self._context - len(job.ids))

    def _question(self, request: ChatRequest) -> list[int]:
        """Return the ids that the trainer would have made of the same question."""
        if request.messages:
            return question_of_messages(self._tokenizer, request.messages)
        text = request.prefix + (request.prompt or "")
        if self._is_message(request):
            return question_of_messages(self._tokenizer, [{"role": "user", "content": text}])
        return question_of_text(self._tokenizer, text)

    def _is_message(self, request: ChatRequest) -> bool:
        return self._renders_chat if request.chat_template is None else request.chat_template

    def _cut(self, request: ChatRequest, ids: list[int], room: int) -> list[int]:
        """Drop the beginning of the user's words; what a template writes around them stays."""
        if request.messages or not self._is_message(request):
            return ids[-room:]
        text = request.prefix + (request.prompt or "")
        words = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        while len(ids) > room and words:
            words = words[max(1, len(ids) - room) :]
            kept = self._tokenizer.decode(words, skip_special_tokens=True)
            ids = question_of_messages(self._tokenizer, [{"role": "user", "content": kept}])
        return ids[-room:]

    def _room(self, request: ChatRequest, prompt_length: int) -> int:
        """Return how many tokens are asked for; max_length counts the prompt, max_new_tokens not."""
        given = request.generation
        if given.get("max_new_tokens") is not None:
            return max(1, int(given["max_new_tokens"]))
        if given.get("max_length") is None:
            return 20  # transformers' default
        room = int(given["max_length"]) - prompt_length
        if room < 1:
            raise RequestRefusedError(
                f"the prompt has {prompt_length} tokens and max_length is {given['max_length']}, "
                "prompt included: write a larger max_length, or max_new_tokens"
            )
        return room

    def _answer(self, jobs: list[Job]) -> None:
        try:
            with torch.inference_mode():
                rows, width = self._generate(jobs)
        except Exception as error:
            failure: Exception = error
            if memory.is_out_of_memory(error):
                failure = PromptTooLongError("not enough memory for this prompt; write a shorter")
            elif isinstance(error, ValueError | TypeError):
                first = str(error).partition("\n")[0]
                failure = RequestRefusedError(f"generate_kwargs can't be used: {first}")
            for job in jobs:
                _resolve(job.reply, failure)
            return
        per_job = len(rows) // len(jobs)
        for number, job in enumerate(jobs):
            own = rows[number * per_job : (number + 1) * per_job]
            _resolve(job.reply, self._reply(job, own, width))

    def _generate(self, jobs: list[Job]) -> tuple[list[list[int]], int]:
        """Return all sequences, prompts included, and the width of the padded prompts."""
        width = max(len(job.ids) for job in jobs)
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(jobs), width), pad)
        mask = torch.zeros((len(jobs), width), dtype=torch.long)
        for row, job in enumerate(jobs):
            ids[row, width - len(job.ids) :] = torch.tensor(job.ids)
            mask[row, width - len(job.ids) :] = 1
        settings: Mapping[str, Any] = {
            key: value
            for key, value in jobs[0].request.generation.items()
            if key not in ("max_length", "max_new_tokens")
        }
        device = self._model.device
        made = self._model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max(job.new_tokens for job in jobs),
            stopping_criteria=[RowLimits(jobs, width)],
            **{"pad_token_id": pad, **settings},
            **({"tokenizer": self._tokenizer} if "stop_strings" in settings else {}),
        )
        return made.tolist(), width

    def _reply(self, job: Job, rows: Sequence[list[int]], width: int) -> ChatReply:
        """Decode as transformers' text-generation pipeline does: the prompt's text, then the rest."""

        def decode(ids: Sequence[int]) -> str:
            return str(
                self._tokenizer.decode(
                    ids,
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=job.request.clean_up_tokenization_spaces,
                )
            )

        prompt_text = decode(job.ids)
        texts, generated = [], 0
        for row in rows:
            new = row[width : width + job.new_tokens]
            made = decode([*job.ids, *new])[len(prompt_text) :]
            is_full = job.request.return_full_text and job.request.prompt is not None
            texts.append((job.request.prompt or "") + made if is_full else made)
            generated += self._counted(new)
        return ChatReply("".join(texts), len(job.ids), generated)

    def _counted(self, new: Sequence[int]) -> int:
        """Return how many tokens a row really made: up to and with its first end of text."""
        ends = self._model.generation_config.eos_token_id
        stops = set(ends if isinstance(ends, list) else [ends])
        return next((i + 1 for i, token in enumerate(new) if token in stops), len(new))


def _resolve(reply: "Future[ChatReply]", outcome: ChatReply | Exception) -> None:
    if not reply.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Exception):
        reply.set_exception(outcome)
    else:
        reply.set_result(outcome)
