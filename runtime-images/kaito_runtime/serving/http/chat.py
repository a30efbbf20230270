"""`POST /chat`: parse, queue, wait, answer."""

import asyncio
import time
from typing import Any

from kaito_runtime.serving.batch_engine import ChatReply, ChatRequest
from kaito_runtime.serving.engine import EngineEndedError, PromptTooLongError, QueueFullError
from kaito_runtime.serving.http.handler import Handler
from kaito_runtime.serving.sampling import RequestRefusedError
from kaito_runtime.serving.schema import BadRequestError, SchemaError, parse_chat

BODY_NOT_PARSED = "There was an error parsing the body"


class Chat(Handler):
    """`POST /chat`."""

    _reply: "asyncio.Future[ChatReply] | None" = None

    async def post(self) -> None:
        """Parse, queue, wait, answer."""
        request = self._parsed()
        if request is not None:
            self._reply = self._submitted(request)
        if self._reply is not None:
            await self._answer(self._reply)

    def on_connection_close(self) -> None:
        """Stop generating for a client that is gone."""
        if self._reply is not None:
            self._reply.cancel()

    def _parsed(self) -> ChatRequest | None:
        body, self.request.body = self.request.body, b""  # the prompt lives on in the request
        try:
            return parse_chat(body, self.state.pipeline)
        except SchemaError as error:
            self._refuse(422, error.detail)
        except BadRequestError as error:
            self._refuse(400, str(error))
        except (ValueError, RecursionError):  # of json: too many digits, too many brackets
            self._refuse(400, BODY_NOT_PARSED)
        return None

    def _submitted(self, request: ChatRequest) -> "asyncio.Future[ChatReply] | None":
        state = self.state
        if state.engine is None or not state.is_ready:
            self._reject("The model is being loaded; try again")
            return None
        try:
            return asyncio.wrap_future(state.engine.submit(request))
        except QueueFullError:
            self._reject("Too many requests are waiting; try again")
        except EngineEndedError:
            self._reject_ended()
        except RequestRefusedError as error:
            self._refuse(400, str(error))
        return None

    async def _answer(self, waiting: "asyncio.Future[ChatReply]") -> None:
        state = self.state
        state.running += 1
        started = time.monotonic()
        try:
            reply = await waiting
        except asyncio.CancelledError:
            return  # the client is gone
        except PromptTooLongError as error:
            self._refuse(413, str(error))
            return
        except RequestRefusedError as error:
            self._refuse(400, str(error))
            return
        except EngineEndedError:
            self._reject_ended()
            return
        except Exception:  # noqa: BLE001  the engine has logged it
            state.metrics.failed.inc()
            self.answer({"detail": "Internal Server Error"}, 500)
            return
        finally:
            state.running -= 1
            self._reply = None  # whose error has a traceback that holds this handler
        seconds = time.monotonic() - started
        state.metrics.count_answer(seconds, reply.prompt_tokens, reply.generated_tokens)
        self.answer({"Result": self._result(reply)})

    def _result(self, reply: ChatReply) -> str:
        if self.state.pipeline == "conversational":
            # Kaito's form: Python's text of the last message, not JSON.
            return str({"role": "assistant", "content": reply.text})
        return reply.text

    def _refuse(self, status: int, detail: Any) -> None:
        self.state.metrics.refused.inc()
        self.answer({"detail": detail}, status)

    def _reject_ended(self) -> None:
        self._reject("The model has stopped and is started again; try again")

    def _reject(self, detail: str) -> None:
        self.state.metrics.rejected.inc()
        self.answer_unavailable(detail)
