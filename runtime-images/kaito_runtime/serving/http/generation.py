"""What the routes that ask the engine share: one request from its body to its last byte."""

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import ClassVar

from tornado.iostream import StreamClosedError

from kaito_runtime.serving.engine import (
    BASE,
    ChatEngine,
    Delta,
    EngineEndedError,
    FinishReason,
    GenerationFailedError,
    GenerationRequest,
    QueueFullError,
)
from kaito_runtime.serving.http import errors
from kaito_runtime.serving.http.answers import Answer
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.handler import Handler, unavailable
from kaito_runtime.serving.http.names import label_of
from kaito_runtime.serving.sampling import RequestRefusedError

log = logging.getLogger(__name__)

VERIFIED = "Kaito-Adapter-Verified"
"""Header of an answer that an adapter gave: what was proven of it when it was loaded."""


class GenerationHandler(Handler):
    """A route that asks the engine; its work ends when its client leaves.

    A subclass answers in `respond`, and says in `names` how its API calls the neutral parameters.
    """

    names: Mapping[str, str]
    refusals: ClassVar[Mapping[type[RequestRefusedError], tuple[HTTPStatus, str]]] = {}
    """Status and code of the kinds of refusal that are not 400 `invalid_value`."""
    queue_full: ClassVar[HTTPStatus] = HTTPStatus.SERVICE_UNAVAILABLE

    _work: "asyncio.Task[None] | None" = None

    async def post(self) -> None:
        """Answer, unless the client hangs up before."""
        self.state.running += 1
        self._work = work = asyncio.ensure_future(self._answered())
        try:
            await asyncio.wait([work])
            if not work.cancelled():
                work.result()
        finally:
            work.cancel()
            self.state.running -= 1
            self._work = None

    def on_connection_close(self) -> None:
        """Stop generating for a client that is gone."""
        if self._work is not None:
            self._work.cancel()

    async def respond(self, body: bytes) -> None:
        """Answer a body; whatever is raised becomes an answer too."""
        raise NotImplementedError

    def send_failure(self, error: ApiError) -> None:
        """Send an error into a stream that has begun, as its last event."""
        raise NotImplementedError

    def engine(self) -> ChatEngine:
        """Return the engine; raises ApiError while nothing can be answered."""
        engine = self.state.engine
        if engine is None or not self.state.is_ready:
            raise unavailable(errors.LOADING)
        return engine

    async def deltas(
        self, request: GenerationRequest, answer: Answer
    ) -> AsyncGenerator[Delta, None]:
        """Yield what the engine generates, after it has been added to `answer`."""
        request.sampling.check()
        engine = self.engine()
        figures = self.state.metrics.request(
            engine.model().name, label_of(request.adapter), request.sampling.n
        )
        verified = verified_by(engine, request.adapter)
        try:
            async with aclosing(engine.generate(request)) as deltas:
                async for delta in deltas:
                    if verified and not self._headers_written:
                        self.set_header(VERIFIED, verified)
                    figures.add(delta, streams=request.streams)
                    answer.add(delta)
                    if delta.finish is FinishReason.ABORT:
                        raise EngineEndedError
                    yield delta
        finally:
            figures.end()

    async def collected(self, request: GenerationRequest) -> Answer:
        """Return the whole answer to a request."""
        answer = Answer(request.sampling.n)
        async with aclosing(self.deltas(request, answer)) as deltas:
            async for _ in deltas:
                pass
        return answer

    async def _answered(self) -> None:
        body, self.request.body = self.request.body, b""  # the prompt lives on in the request
        try:
            with self.state.rate.turn(self.holder):
                await self.respond(body)
        except StreamClosedError:
            pass  # the client is gone
        except Exception as error:  # noqa: BLE001  every fault has an answer
            self._send_error(self._error_of(error))

    def _send_error(self, error: ApiError) -> None:
        if self._headers_written:
            self.count_error(error.status)
            self.send_failure(error)
        else:
            self.clear_header(VERIFIED)
            self.answer_error(error)

    def _error_of(self, error: Exception) -> ApiError:
        match error:
            case ApiError():
                return error
            case RequestRefusedError():
                return self._refusal(error)
            case QueueFullError():
                full = unavailable(errors.QUEUE_FULL)
                full.status, full.code = self.queue_full, "queue_full"
                return full
            case EngineEndedError():
                return unavailable(errors.ENDED)
            case GenerationFailedError():  # the engine has logged it
                pass
            case _:  # its text may hold the prompt
                frames = "".join(traceback.format_tb(error.__traceback__))
                log.error("A request failed with %s:\n%s", type(error).__name__, frames)
        return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, errors.FAILED, code="internal_error")

    def _refusal(self, error: RequestRefusedError) -> ApiError:
        usual = (HTTPStatus.BAD_REQUEST, "invalid_value")
        status, code = self.refusals.get(type(error), usual)
        field = self.names.get(error.field, error.field)
        message = f"{field} {error.problem}" if field else error.problem
        return ApiError(status, message, field, code)


def verified_by(engine: ChatEngine, adapter: str | None) -> str:
    """Return what was proven of the adapters that answer a request, in the order of their names.

    Empty where the base answers alone.
    """
    if adapter == BASE:
        return ""
    asked = (each for each in engine.adapters() if adapter in (None, each.name))
    return "; ".join(str(each.verification) for each in asked if each.verification)
