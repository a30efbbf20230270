# ruff: noqa: ARG002  the interface has arguments that nothing is done with here
"""The engine of a process that has a part of the model, and takes no request: rank 0 has them all."""

import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from pathlib import Path

from kaito_runtime.pod import termination
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.engine import (
    MODEL_NAME,
    AdapterInfo,
    Delta,
    EngineLoad,
    GenerationRequest,
    ModelInfo,
)
from kaito_runtime.serving.engines.transformers.replica import Replica
from kaito_runtime.serving.sampling import RequestRefusedError


class FollowingEngine:
    """See ChatEngine; it ends when rank 0 does."""

    def __init__(self, replica: Replica):
        self._replica = replica
        self.ended: Future[Failure | None] = Future()
        self._thread = threading.Thread(target=self._follow, name="engine", daemon=True)
        self._thread.start()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Refuse."""
        raise self._refused()
        yield  # which makes it a generator

    def abort(self, request_id: str) -> None:
        """Do nothing: there is no request."""

    def model(self) -> ModelInfo:
        """The base model."""
        ranks = self._replica.ranks
        return ModelInfo(MODEL_NAME, 0, "transformers", {"rank": ranks.rank, "ranks": ranks.size})

    def chat_template(self, adapter: str | None) -> str:
        """Return none: nothing is rendered here."""
        return ""

    def adapters(self) -> Sequence[AdapterInfo]:
        """Return none: none can be asked for here."""
        return ()

    def load_adapter(self, name: str, folder: Path, strength: float) -> AdapterInfo:
        """Refuse: rank 0 loads it on all."""
        raise self._refused()

    def unload_adapter(self, name: str) -> None:
        """Refuse: rank 0 removes it from all."""
        raise self._refused()

    def load(self) -> EngineLoad:
        """Not busy."""
        return EngineLoad()

    def is_healthy(self) -> bool:
        """Return false once it has ended."""
        return not self.ended.done()

    def stop(self) -> None:
        """Wait until rank 0 stops: it may still compute."""
        self._thread.join()

    def _refused(self) -> RequestRefusedError:
        rank = self._replica.ranks.rank
        return RequestRefusedError(
            f"must be sent to process 0 of the model; this is {rank}", "host"
        )

    def _follow(self) -> None:
        failure: Failure | None = None
        try:
            self._replica.follow()
            self._replica.ranks.leave()
        except Failure as known:
            failure = known
        except BaseException as error:  # noqa: BLE001  whatever it was, `ended` is told
            failure = termination.unexpected(error)
        self.ended.set_result(failure)
