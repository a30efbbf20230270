"""The engine: one thread, one model, and as many requests of equal settings per batch as there are.

Requests that arrive while a batch runs wait and form the next one. Rows of a batch have their own
length limit and end on their own; a row of its own settings waits its turn.

What one request raises is that request's answer. After every generation that raised, the engine
proves itself with one token before it goes on. Where that fails, or where the error says that the
device is lost, the engine ends: everyone who waits is told, and `ended` has the reason.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import torch
from transformers import LogitsProcessorList

from kaito_runtime.models import load as memory
from kaito_runtime.models.tokenization import question_of_messages, question_of_text
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.batch_engine import ChatFailedError, ChatReply, ChatRequest
from kaito_runtime.serving.engine import EngineEndedError, PromptTooLongError
from kaito_runtime.serving.engines import generation
from kaito_runtime.serving.engines.queue import QueuedRequest, RequestQueue
from kaito_runtime.serving.sampling import RequestRefusedError

log = logging.getLogger(__name__)

WAITING_LIMIT = 128
LARGEST_LOGIT = 1e4
"""Far above any model's; divided by the lowest temperature it is still a finite float32."""
PROOF = ChatRequest(prompt="a", generation={"max_new_tokens": 1, "do_sample": False})
"""What a model that works can answer, in the time of one token."""


class RowLimits:
    """A stopping criterion of transformers: each row ends at its limit, or when nobody waits."""

    def __init__(self, requests: Sequence[QueuedRequest], prompt_length: int):
        self._queue = requests
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """Return which rows are done, [rows] bool."""
        made = input_ids.shape[1] - self._prompt_length
        done = [made >= queued.new_tokens or queued.reply.cancelled() for queued in self._queue]
        repeated = input_ids.shape[0] // len(done)
        return torch.tensor(done, device=input_ids.device).repeat_interleave(repeated)


class FiniteLogits:
    """A logits processor of transformers: sampling from what is no number is the end of a GPU."""

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, [rows, vocabulary] float32, without NaN and infinities."""
        return scores.nan_to_num(nan=-LARGEST_LOGIT).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


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
        self._vocabulary = int(config.vocab_size)
        self._queue = RequestQueue(waiting_limit)
        self._taken: list[QueuedRequest] = []
        self._is_in_doubt = False
        """A generation has raised, and none has succeeded since."""
        self.ended: Future[Failure | None] = Future()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: ChatRequest) -> "Future[ChatReply]":
        """Queue a request; see ChatEngine."""
        queued = QueuedRequest(request, generation.settings(request.generation))
        self._queue.put(queued)
        return queued.reply

    def is_alive(self) -> bool:
        """Return true until the engine has ended."""
        return not self.ended.done()

    def waiting(self) -> int:
        """Return the length of the queue."""
        return len(self._queue)

    def stop(self) -> None:
        """Answer what is queued and join the thread: torch must not be cut off at exit."""
        self._queue.stop()
        self._thread.join()

    def prove(self) -> None:
        """Generate one token; raises OutOfMemory, DeviceLost, or what the model raises."""
        with memory.device_faults("generating one token"):
            queued = QueuedRequest(PROOF, "")
            self._encode(queued)
            self._generate([queued])

    def _work(self) -> None:
        failure: Failure | None = None
        try:
            while batch := self._queue.take():
                self._taken = batch
                self._answer([queued for queued in batch if self._prepare(queued)])
                if self._is_in_doubt:
                    self._prove_again()
        except Failure as known:
            failure = known
        except BaseException as error:  # noqa: BLE001  whatever it was, `ended` is told
            failure = termination.unexpected(error)
        self.ended.set_result(failure)  # before the answers: who asks again is told at once
        self._queue.close(self._taken, EngineEndedError())

    def _prove_again(self) -> None:
        try:
            self.prove()
        except Failure:
            raise
        except Exception as error:
            log.error("The engine failed its proof", exc_info=error)
            raise termination.device_lost(device.message(error)) from None
        self._is_in_doubt = False

    def _prepare(self, queued: QueuedRequest) -> bool:
        """Tokenise the request; false if it is answered or abandoned already."""
        if queued.is_abandoned():
            return False
        try:
            generation.refuse_unsafe(queued.request.generation, self._vocabulary)
            self._encode(queued)
            if max(queued.ids) >= self._vocabulary:
                raise RequestRefusedError("the prompt has a special token that the model lacks")
        except RequestRefusedError as error:
            queued.answer(error)
            return False
        except BaseException as error:  # noqa: BLE001  templates and tokenizers raise what they like
            queued.answer(RequestRefusedError(f"the messages are not valid: {error}"))
            return False
        return True

    def _encode(self, queued: QueuedRequest) -> None:
        request = queued.request
        queued.ids = self._question(request)
        if not queued.ids:
            raise RequestRefusedError("the prompt has no token; write some text")
        queued.new_tokens = self._room(request, len(queued.ids))
        room = max(1, self._context - queued.new_tokens)
        if len(queued.ids) > room and request.cut_long_prompt:
            queued.ids = self._cut(request, queued.ids, room)
        if len(queued.ids) >= self._context:
            raise PromptTooLongError(
                f"the prompt has {len(queued.ids)} tokens and the model's context {self._context}; "
                "write a shorter one"
            )
        queued.new_tokens = min(queued.new_tokens, self._context - len(queued.ids))

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

    def _answer(self, requests: list[QueuedRequest]) -> None:
        """Answer each request; one that can't be answered takes no other with it."""
        if not requests:
            return
        try:
            rows, width = self._generate(requests)
        except BaseException as error:  # noqa: BLE001  generate() raises what it likes
            self._is_in_doubt = True
            failure = _failure_of(error)  # without its traceback, which holds the tensors
        else:
            self._is_in_doubt = False
            per_request = len(rows) // len(requests)
            for number, queued in enumerate(requests):
                self._answer_with(
                    queued, rows[number * per_request : (number + 1) * per_request], width
                )
            return
        if len(requests) == 1 or type(failure) is RequestRefusedError:  # of settings that all share
            for queued in requests:
                queued.answer(failure)
            return
        for queued in requests:  # which one it was shows when each is alone
            self._answer([queued])

    def _answer_with(self, queued: QueuedRequest, rows: Sequence[list[int]], width: int) -> None:
        try:
            queued.answer(self._reply(queued, rows, width))
        except BaseException as error:
            log.error("The tokens of a reply failed to decode", exc_info=error)
            queued.answer(ChatFailedError("the tokens failed to decode"))

    def _generate(self, requests: list[QueuedRequest]) -> tuple[list[list[int]], int]:
        """Return all sequences, prompts included, and the width of the padded prompts."""
        width = max(len(queued.ids) for queued in requests)
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.full((len(requests), width), pad)
        mask = torch.zeros((len(requests), width), dtype=torch.long)
        for row, queued in enumerate(requests):
            ids[row, width - len(queued.ids) :] = torch.tensor(queued.ids)
            mask[row, width - len(queued.ids) :] = 1
        settings = generation.shared(requests[0].request.generation)
        on = self._model.device
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=ids.to(on),
                attention_mask=mask.to(on),
                max_new_tokens=max(queued.new_tokens for queued in requests),
                stopping_criteria=[RowLimits(requests, width)],
                logits_processor=LogitsProcessorList([FiniteLogits()]),
                **{"pad_token_id": pad, **settings},
                **({"tokenizer": self._tokenizer} if "stop_strings" in settings else {}),
            )
            return made.tolist(), width

    def _reply(self, queued: QueuedRequest, rows: Sequence[list[int]], width: int) -> ChatReply:
        """Decode as transformers' text-generation pipeline does: the prompt's text, then the rest."""

        def decode(ids: Sequence[int]) -> str:
            return str(
                self._tokenizer.decode(
                    ids,
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=queued.request.clean_up_tokenization_spaces,
                )
            )

        prompt_text = decode(queued.ids)
        texts, generated = [], 0
        for row in rows:
            new = row[width : width + queued.new_tokens]
            made = decode([*queued.ids, *new])[len(prompt_text) :]
            is_full = queued.request.return_full_text and queued.request.prompt is not None
            texts.append((queued.request.prompt or "") + made if is_full else made)
            generated += self._counted(new)
        return ChatReply("".join(texts), len(queued.ids), generated)

    def _counted(self, new: Sequence[int]) -> int:
        """Return how many tokens a row really made: up to and with its first end of text."""
        ends = self._model.generation_config.eos_token_id
        stops = set(ends if isinstance(ends, list) else [ends])
        return next((i + 1 for i, token in enumerate(new) if token in stops), len(new))


def _failure_of(error: BaseException) -> Exception:
    """Return what a request is told of an error of generate(); raises Failure for a lost device."""
    if memory.is_out_of_memory(error):
        return PromptTooLongError("not enough memory for this prompt; write a shorter")
    if device.is_lost(error):
        raise termination.unexpected(error) from None
    if isinstance(error, ValueError | TypeError | LookupError | OverflowError | RecursionError):
        first = str(error).partition("\n")[0]
        return RequestRefusedError(f"generate_kwargs is not valid: {first}")
    log.error("The model could not answer", exc_info=error)
    return ChatFailedError("the model could not answer")
