"""The transformers engine: a ChatEngine on one thread that owns the model.

What one request raises is that request's answer. After every step that raised, the engine computes one
token before it goes on. Where that fails, or where the error says that the device is lost, the engine
ends: everyone who waits is told, and `ended` has the reason.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_runtime.models import load as memory
from kaito_runtime.models.adapters import Verifier
from kaito_runtime.models.ranks import ALONE, Ranks
from kaito_runtime.pod import device, termination
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import (
    MODEL_NAME,
    AdapterInfo,
    Delta,
    EngineLoad,
    GenerationRequest,
    ModelInfo,
    PromptTooLongError,
)
from kaito_runtime.serving.engines.delivery import DeltaStream
from kaito_runtime.serving.engines.intake import Intake
from kaito_runtime.serving.engines.preparation import Preparation
from kaito_runtime.serving.engines.rows import Job
from kaito_runtime.serving.engines.transformers.forward import (
    NO_ADAPTERS,
    NotPlainError,
    no_adapters,
)
from kaito_runtime.serving.engines.transformers.named_adapters import NamedAdapters
from kaito_runtime.serving.engines.transformers.replica import Replica
from kaito_runtime.serving.engines.transformers.scheduler import ROWS_LIMIT, Scheduler
from kaito_runtime.serving.engines.transformers.search import Search, Searches
from kaito_runtime.serving.sampling import RequestRefusedError

log = logging.getLogger(__name__)

WAITING_LIMIT = 128
ENCODING_THREADS = 2
"""A long prompt is encoded beside the others, and takes one of them."""
STEP_LIMIT_SECONDS = 600.0
"""A step that takes longer does not end."""


@dataclasses.dataclass(frozen=True)
class EngineLimits:
    """How much an engine takes in."""

    waiting: int = WAITING_LIMIT
    """Requests that wait for their turn."""
    rows: int = ROWS_LIMIT
    """Sequences that are generated at once."""
    cache_bytes: int | None = None
    """For keys and values; None: what is free on the device, less a reserve."""


class TransformersEngine:
    """See ChatEngine."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        adapters: Verifier | None = None,
        limits: EngineLimits | None = None,
        ranks: Ranks = ALONE,
    ):
        """Take a model in evaluation mode; raises what it raises for its first tokens.

        With several `ranks` this is the engine of rank 0, and the others follow; see Replica.
        """
        limits = limits or EngineLimits()
        self._tokenizer = tokenizer
        config = model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self._vocabulary = int(config.vocab_size)
        self._preparation = Preparation(
            tokenizer, model.generation_config, context=self._context, vocabulary=self._vocabulary
        )
        rows = adapters.adapters.rows if adapters else no_adapters
        self._search = Search(model, tokenizer, rows, self._vocabulary)
        self._searches = Searches(self._search, tokenizer, self._prove)
        self._replica = self._replica_of(model, adapters, ranks)
        self._scheduler: Scheduler | None = None
        if self._replica is not None:
            size = limits.cache_bytes
            self._scheduler = Scheduler(
                self._replica,
                tokenizer,
                budget=self._replica.budget if size is None else size,
                prove=self._prove,
                rows_limit=limits.rows,
            )
        self._most = self._scheduler.longest() if self._scheduler else self._context
        self._encoders = ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode")
        self._intake = Intake(limits.waiting)
        self.ended = self._intake.ended
        self._adapters = NamedAdapters(
            adapters, MODEL_NAME, self._intake, self._compute_one_token, self._replica
        )
        self._adapters.prove()
        self._step_began: float | None = None
        self._load = EngineLoad()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield what is generated; see ChatEngine."""
        request.sampling.check()
        job = Job(request, DeltaStream(), weights=self._adapters.weights(request.adapter))
        self._intake.enter(job)
        try:
            self._adapters.weights(request.adapter)  # again: it may have begun to leave meanwhile
            await job.stream.loop.run_in_executor(self._encoders, self._prepare, job)
            self._intake.put(job)
            async for delta in job.stream:
                yield delta
        finally:
            self._intake.exit(job)

    def abort(self, request_id: str) -> None:
        """End a request; see ChatEngine."""
        self._intake.abort(request_id)

    def model(self) -> ModelInfo:
        """The base model."""
        how = "slots" if self._scheduler else "one after the other"
        return ModelInfo(
            MODEL_NAME, self._context, "transformers", {"batching": how, "longest": self._most}
        )

    def chat_template(self, adapter: str | None) -> str:
        """The chat template for an adapter; see ChatEngine."""
        return self._adapters.rendering(adapter).chat_template or str(
            self._tokenizer.chat_template or ""
        )

    def adapters(self) -> Sequence[AdapterInfo]:
        """The adapters that a request can name."""
        return self._adapters.infos()

    def load_adapter(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Add an adapter; see ChatEngine."""
        return self._adapters.load(name, folder, strength)

    def unload_adapter(self, name: str) -> None:
        """Remove an adapter; see ChatEngine."""
        self._adapters.unload(name)

    def load(self) -> EngineLoad:
        """How busy it is."""
        return dataclasses.replace(self._load, waiting=self._intake.waiting())

    def is_healthy(self) -> bool:
        """Return false once the engine has ended, or when a step does not end."""
        began = self._step_began
        return not self.ended.done() and (
            began is None or time.monotonic() - began < STEP_LIMIT_SECONDS
        )

    def stop(self) -> None:
        """Answer what was queued and join the threads: torch must not be cut off at exit."""
        self._intake.stop()
        self._encoders.shutdown(wait=True)
        self._thread.join()
        if self._replica is not None and not self.ended.result():
            self._replica.stop()

    def _replica_of(self, model: Any, adapters: Verifier | None, ranks: Ranks) -> Replica | None:
        try:
            return Replica(model, self._vocabulary, adapters, ranks)
        except NotPlainError as error:
            if ranks.are_several:
                raise Failure(
                    Reason.CONFIG_INVALID,
                    f"several processes can't compute this model: {error}; start one process that "
                    "sees all GPUs",
                ) from None
            log.warning(
                "Requests are answered one after the other: the model is not plain, %s", error
            )
            self._search.prove()
            return None

    def _prepare(self, job: Job) -> None:
        """Encode the prompt and settle how tokens are chosen; on a thread of its own."""
        if job.is_aborted:
            return
        self._preparation.prepare(
            job, self._adapters.rendering(job.request.adapter), min(self._context, self._most)
        )
        longest = len(job.ids) + job.choice.max_tokens
        job.is_search = (
            self._replica is None
            or bool(job.request.sampling.search)
            or longest > self._replica.model.longest
        )
        if job.is_search:
            self._require_one_process(job)
            self._search.check(job)

    def _require_one_process(self, job: Job) -> None:
        """Raise RequestRefusedError where generate() would have to run in several processes at once."""
        if self._replica is None or not self._replica.ranks.are_several:
            return
        field = next(iter(job.request.sampling.search), None)
        if field is not None:
            raise RequestRefusedError("is not possible with a model over several processes", field)
        raise PromptTooLongError(
            f"and max_tokens together must be at most {self._replica.model.longest} tokens with a model "
            "over several processes",
            "prompt",
        )

    def _work(self) -> None:
        failure: Failure | None = None
        try:
            while self._intake.wait(self._has_work):
                if self._intake.run_commands() and self._scheduler is not None:
                    self._scheduler.forget_prefixes()  # a name may stand for another adapter now
                self._take_in()
                self._step()
                self._searches.run_one(self._between)
        except Failure as known:
            failure = known
        except BaseException as error:  # noqa: BLE001  whatever it was, `ended` is told
            failure = termination.unexpected(error)
        self._intake.close(failure)

    def _has_work(self) -> bool:
        is_busy = self._scheduler is not None and not self._scheduler.is_idle()
        return is_busy or bool(self._searches)

    def _take_in(self) -> None:
        for job in self._intake.arrivals():
            if job.is_search:
                self._searches.add(job)
            elif self._scheduler is not None:
                self._scheduler.add(job)

    def _between(self) -> None:
        """Let the others go on while one request is computed by generate()."""
        self._take_in()
        self._step()

    def _step(self) -> None:
        self._step_began = time.monotonic()
        if self._scheduler is not None and not self._scheduler.is_idle():
            self._scheduler.step(time.monotonic)
            self._load = self._scheduler.load()
        self._step_began = None

    def _compute_one_token(self, weights: Mapping[str, float] = NO_ADAPTERS) -> None:
        if self._replica is not None:
            self._replica.compute_one_token(dict(weights))
        else:
            self._search.prove(weights)

    def _prove(self) -> None:
        """Compute one token; raises DeviceLost where that fails."""
        try:
            with memory.device_faults("generating one token"):
                self._compute_one_token()
        except Failure:
            raise
        except Exception as error:
            log.error("The engine failed its proof", exc_info=error)
            raise termination.device_lost(device.message(error)) from None
