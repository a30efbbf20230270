"""The vLLM engine: a ChatEngine on vLLM's AsyncLLM, which lives on an event loop of its own thread.

vLLM is given token ids, and gives token ids back. Prompts are encoded, sequences ended and texts made by
what the engines share, so that a request means the same to each of them.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from kaito_runtime.models.rendering import Rendering
from kaito_runtime.serving.engine import (
    BASE,
    AdapterInfo,
    AdapterNotFoundError,
    Delta,
    EngineEndedError,
    EngineLoad,
    FinishReason,
    GenerationFailedError,
    GenerationRequest,
    ModelInfo,
)
from kaito_runtime.serving.engines.delivery import Delivery, DeltaStream, Item
from kaito_runtime.serving.engines.detokenizer import Texts
from kaito_runtime.serving.engines.intake import Intake
from kaito_runtime.serving.engines.preparation import Preparation
from kaito_runtime.serving.engines.rows import Job, Row
from kaito_runtime.serving.engines.vllm import parameters
from kaito_runtime.serving.engines.vllm.adapters import LoadedAdapters
from kaito_runtime.serving.engines.vllm.errors import EngineDiedError, VllmRefusedError
from kaito_runtime.serving.engines.vllm.library import Library, VllmSettings
from kaito_runtime.serving.engines.vllm.loop_thread import LoopThread
from kaito_runtime.serving.sampling import RequestRefusedError

log = logging.getLogger(__name__)

WAITING_LIMIT = 128
ENCODING_THREADS = 2
STEP_LIMIT_SECONDS = 600.0
"""A step that takes longer does not end."""


class VllmEngine:
    """See ChatEngine."""

    def __init__(
        self,
        settings: VllmSettings,
        tokenizer: Any,
        *,
        name: str = "base",
        waiting: int = WAITING_LIMIT,
    ):
        """Start vLLM, which loads the model; raises Failure."""
        from transformers import AutoConfig

        self._name = name
        self._tokenizer = tokenizer
        self._texts = Texts(tokenizer)
        config = AutoConfig.from_pretrained(
            settings.model, trust_remote_code=settings.trust_remote_code, local_files_only=True
        )
        vocabulary = int(config.get_text_config().vocab_size)
        generation_config = _generation_config(settings.model, config)
        self._intake = Intake(settings.max_num_seqs + waiting)
        self.ended = self._intake.ended
        self._delivery = Delivery()
        self._is_sending = False
        self._sequences = 0
        """Those that vLLM has."""
        self._busy_since = 0.0
        self._thread = LoopThread("vllm")
        try:
            self._library = self._thread.run(_proven(settings))
        except BaseException:
            self._thread.close()
            raise
        self._context = self._library.context
        self._preparation = Preparation(
            tokenizer, generation_config, context=self._context, vocabulary=vocabulary
        )
        self._encoders = ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode")
        self._adapters = LoadedAdapters(settings, self._library, self._thread, tokenizer)
        self._watch = self._thread.submit(self._end_with_vllm())

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield what is generated; see ChatEngine."""
        request.sampling.check()
        parameters.check(request.sampling)
        job = Job(request, DeltaStream(), weights=self._weights(request.adapter))
        self._intake.enter(job)
        answering = None
        try:
            self._weights(request.adapter)  # one that is unloaded since was not seen to be in use
            await job.stream.loop.run_in_executor(self._encoders, self._prepare, job)
            answering = self._thread.submit(self._answer(job))
            async for delta in job.stream:
                yield delta
        finally:
            if answering is not None:
                answering.cancel()
            self._intake.exit(job)

    def abort(self, request_id: str) -> None:
        """End a request; see ChatEngine."""
        self._intake.abort(request_id)

    def model(self) -> ModelInfo:
        """The base model."""
        return ModelInfo(self._name, self._context, "vllm", {"longest": self._context})

    def chat_template(self, adapter: str | None) -> str:
        """The chat template for an adapter; see ChatEngine."""
        return self._rendering(adapter).chat_template or str(self._tokenizer.chat_template or "")

    def adapters(self) -> Sequence[AdapterInfo]:
        """The adapters that a request can name."""
        return self._adapters.infos()

    def load_adapter(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Add an adapter; see ChatEngine."""
        if name == self._name:
            raise RequestRefusedError(f'"{name}" is the name of the base model', "adapter")
        return self._adapters.load(name, folder, strength)

    def unload_adapter(self, name: str) -> None:
        """Remove an adapter; see ChatEngine."""
        self._adapters.unload(name, self._intake.wait_until_unused)

    def load(self) -> EngineLoad:
        """How busy it is."""
        found = self._library.statistics.load
        return found if self._sequences else replace(found, running=0, waiting=0)

    def is_healthy(self) -> bool:
        """Return false once vLLM has ended, or when a step does not end."""
        since = max(self._busy_since, self._library.statistics.stepped)
        is_stuck = self._sequences > 0 and time.monotonic() - since > STEP_LIMIT_SECONDS
        return not self.ended.done() and not is_stuck

    def stop(self) -> None:
        """Answer what was queued, then end vLLM's processes and all threads."""
        self._intake.stop()
        self._intake.wait(lambda: False)
        self._encoders.shutdown(wait=True)
        self._watch.cancel()
        if not self.ended.done():
            self._intake.close(None)
        self._thread.run(self._stop_library())
        self._thread.close()
        self._adapters.close()

    def _weights(self, adapter: str | None) -> Mapping[str, float]:
        infos = self.adapters()
        names = ", ".join(f'"{each.name}"' for each in infos) or "none"
        if adapter is None and len(infos) > 1:
            raise RequestRefusedError(
                f"must be one of {names}: vLLM does not sum several adapters", "adapter"
            )
        if adapter in (BASE, self._name):
            return {}
        for each in infos:
            if adapter in (None, each.name):
                return {each.name: each.strength}
        if adapter is None:
            return {}
        raise AdapterNotFoundError(f'"{adapter[:80]}" not found; there are: {names}', "adapter")

    def _rendering(self, adapter: str | None) -> Rendering:
        names = [each.name for each in self.adapters() if adapter in (None, each.name)]
        return self._adapters.rendering(names[0]) if len(names) == 1 else Rendering()

    def _prepare(self, job: Job) -> None:
        """Encode the prompt and settle how tokens are chosen; on a thread of its own."""
        if job.is_aborted:
            return
        self._preparation.prepare(job, self._rendering(job.request.adapter), self._context)

    async def _answer(self, job: Job) -> None:
        """Have all sequences of a request generated, and deliver its end."""
        if job.is_aborted:
            return
        answer: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(job.request.sampling.n):
                    group.create_task(self._generated(Row(job, index, self._tokenizer)))
        except ExceptionGroup as errors:
            answer = _answer_to(errors.exceptions[0])
        self._deliver(job, answer)

    async def _generated(self, row: Row) -> None:
        self._busy_since = self._busy_since if self._sequences else time.monotonic()
        self._sequences += 1
        lora = next((self._adapters.lora(name) for name in row.job.weights), None)
        outputs = self._library.outputs(
            f"{row.job.request.id}-{row.index}", row.job.ids, parameters.arguments_of(row), lora
        )
        try:
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    self._take(row, output)
                    if row.is_ended and not output.finished:
                        return  # closing it ends the sequence in vLLM
        finally:
            self._sequences -= 1

    def _take(self, row: Row, output: Any) -> None:
        """Add the tokens of one of vLLM's outputs to a sequence."""
        job, (made,) = row.job, output.outputs
        scheduled = output.metrics.scheduled_ts if output.metrics else 0.0
        job.started = job.started or max(job.arrived, scheduled)
        row.reused = output.num_cached_tokens or 0
        for place, token in enumerate(made.token_ids):
            found = made.logprobs[place] if made.logprobs else None
            told = parameters.logprobs_of(token, found, job.choice.logprobs, self._texts)
            delta = row.accept(token, told)
            if delta is not None:
                self._deliver(job, delta)
            if row.is_ended:
                return
        if output.finished:
            if made.finish_reason not in ("stop", "length"):
                raise GenerationFailedError("vLLM has ended the sequence")
            is_long = made.finish_reason == "length"
            self._deliver(job, row.end(FinishReason.LENGTH if is_long else FinishReason.STOP))

    def _deliver(self, job: Job, item: Item) -> None:
        """Send something with all that comes in this turn of the event loop."""
        self._delivery.add(job.stream, item)
        if not self._is_sending:
            self._is_sending = True
            self._thread.loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_sending = False
        self._delivery.send()

    async def _end_with_vllm(self) -> None:
        failure = await self._library.died()
        if not self.ended.done():
            log.error("vLLM's processes have ended: %s", failure.reason)
            self._intake.close(failure)

    async def _stop_library(self) -> None:
        self._library.stop()


async def _proven(settings: VllmSettings) -> Library:
    """Return the library once it has generated a token."""
    library = await Library.started(settings)
    try:
        await library.prove()
    except BaseException:
        library.stop()
        raise
    return library


def _answer_to(error: Exception) -> Exception:
    match error:
        case EngineDiedError():
            return EngineEndedError()
        case VllmRefusedError():
            return RequestRefusedError(f"The request is not possible with vLLM: {error}")
        case GenerationFailedError():
            return error
    log.error("vLLM failed to answer", exc_info=error)
    return GenerationFailedError("vLLM failed to answer")


def _generation_config(weights: Path, config: Any) -> Any:
    """Return what generation_config.json says; without one, what the model's configuration does."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(weights, local_files_only=True)
    except OSError:
        return GenerationConfig.from_model_config(config)
