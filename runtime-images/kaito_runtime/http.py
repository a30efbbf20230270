"""The web server in front of a ChatEngine: Kaito's routes on Tornado, and nothing about models."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import tornado.httpserver
import tornado.web

from kaito_runtime.chat import (
    ChatEngine,
    ChatReply,
    PromptTooLongError,
    QueueFullError,
    RequestRefusedError,
)
from kaito_runtime.chat_schema import BadRequestError, SchemaError, parse_chat
from kaito_runtime.machine import machine_figures
from kaito_runtime.metrics import CONTENT_TYPE, Gauges

BODY_LIMIT_BYTES = 2 * 1024 * 1024
RETRY_SECONDS = 1


@dataclass
class Served:
    """What all requests share."""

    pipeline: str
    adapter_digest: str = ""
    engine: ChatEngine | None = None
    """None until the model is loaded and has generated one token."""
    is_stopping: bool = False
    running: int = 0
    """Chats that have not been answered yet."""
    gauges: Gauges = field(
        default_factory=lambda: Gauges(
            kaito_ready="1 once a token has been generated.",
            kaito_chat_requests_total="Chats that were answered.",
            kaito_chat_refused_total="Chats that were refused for what they ask (4xx).",
            kaito_chat_rejected_total="Chats that found the queue full or the model absent (503).",
            kaito_chat_failed_total="Chats that failed (500).",
            kaito_chat_running="Chats in progress, waiting ones included.",
            kaito_chat_waiting="Chats that wait for their turn.",
            kaito_chat_seconds_total="Time from request to reply, summed over answered chats.",
            kaito_prompt_tokens_total="Tokens of the prompts answered.",
            kaito_generated_tokens_total="Tokens generated.",
        )
    )

    @property
    def is_ready(self) -> bool:
        """Return true while chats can be answered."""
        return self.engine is not None and self.engine.is_alive() and not self.is_stopping

    async def drained(self, seconds: float) -> None:
        """Wait until no chat is in progress, at most so long."""
        end = time.monotonic() + seconds
        while self.running and time.monotonic() < end:
            await asyncio.sleep(0.05)


class Handler(tornado.web.RequestHandler):
    """A route that shares `Served` and answers JSON."""

    served: Served

    def initialize(self, served: Served) -> None:
        """Take what all requests share."""
        self.served = served

    def set_default_headers(self) -> None:
        """Say nothing about the server's version."""
        self.set_header("Server", "kaito")

    def answer(self, content: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(content, ensure_ascii=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send errors in Kaito's form."""
        self.answer({"detail": self._reason}, status_code)

    def answer_unavailable(self, detail: str) -> None:
        """Ask the client to come back."""
        self.set_header("Retry-After", str(RETRY_SECONDS))
        self.answer({"detail": detail}, 503)


class Root(Handler):
    """`GET /`."""

    def get(self) -> None:
        """Say that the server runs, and with which adapter."""
        if self.served.adapter_digest:
            self.set_header("Kaito-Adapter-Digest", self.served.adapter_digest)
        self.answer({"message": "Server is running"})


class Health(Handler):
    """`GET /healthz`: is the process worth keeping?"""

    def get(self) -> None:
        """Fail only when the engine has died."""
        engine = self.served.engine
        if engine is not None and not engine.is_alive():
            self.answer({"detail": "Model not initialized"}, 500)
            return
        self.answer({"status": "Healthy"})


class Readiness(Handler):
    """`GET /readyz`: can a chat be answered?"""

    def get(self) -> None:
        """Fail until one token has been generated, and again while stopping."""
        if self.served.is_ready:
            self.answer({"status": "Ready"})
        else:
            self.answer_unavailable("The model is being loaded")


class Metrics(Handler):
    """`GET /metrics`."""

    def get(self) -> None:
        """Send Prometheus' text, or Kaito's JSON where the client accepts only that."""
        if "application/json" in self.request.headers.get("Accept", ""):
            self.answer(machine_figures())
            return
        engine = self.served.engine
        self.served.gauges.set(
            kaito_ready=float(self.served.is_ready),
            kaito_chat_running=self.served.running,
            kaito_chat_waiting=engine.waiting() if engine else 0,
        )
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(self.served.gauges.text())


@tornado.web.stream_request_body
class Chat(Handler):
    """`POST /chat`."""

    def prepare(self) -> None:
        """Refuse a body that is too large before it arrives."""
        self._body = bytearray()
        self._reply: asyncio.Future[ChatReply] | None = None
        if int(self.request.headers.get("Content-Length") or 0) > BODY_LIMIT_BYTES:
            self._refuse_large()

    def data_received(self, chunk: bytes) -> None:
        """Collect the body."""
        if not self._finished:
            self._body += chunk
            if len(self._body) > BODY_LIMIT_BYTES:
                self._refuse_large()

    async def post(self) -> None:
        """Parse, queue, wait, answer."""
        served = self.served
        try:
            request = parse_chat(bytes(self._body), served.pipeline)
        except SchemaError as error:
            self._refuse(422, error.detail)
            return
        except BadRequestError as error:
            self._refuse(400, str(error))
            return
        if served.engine is None or not served.is_ready:
            self._reject("The model is being loaded; try again")
            return
        try:
            promised = served.engine.submit(request)
        except QueueFullError:
            self._reject("Too many requests are waiting; try again")
            return
        self._reply = asyncio.wrap_future(promised)
        served.running += 1
        started = time.monotonic()
        try:
            reply = await self._reply
        except asyncio.CancelledError:
            return  # the client is gone
        except PromptTooLongError as error:
            self._refuse(413, str(error))
            return
        except RequestRefusedError as error:
            self._refuse(400, str(error))
            return
        except Exception:
            served.gauges.add(kaito_chat_failed_total=1)
            raise
        finally:
            served.running -= 1
        served.gauges.add(
            kaito_chat_requests_total=1,
            kaito_chat_seconds_total=time.monotonic() - started,
            kaito_prompt_tokens_total=reply.prompt_tokens,
            kaito_generated_tokens_total=reply.generated_tokens,
        )
        self.answer({"Result": self._result(reply)})

    def on_connection_close(self) -> None:
        """Stop generating for a client that is gone."""
        if self._reply is not None:
            self._reply.cancel()

    def _result(self, reply: ChatReply) -> str:
        if self.served.pipeline == "conversational":
            # Kaito's form: Python's text of the last message, not JSON.
            return str({"role": "assistant", "content": reply.text})
        return reply.text

    def _refuse(self, status: int, detail: Any) -> None:
        self.served.gauges.add(kaito_chat_refused_total=1)
        self.answer({"detail": detail}, status)

    def _refuse_large(self) -> None:
        self.set_header("Connection", "close")
        self._refuse(413, f"the body is larger than {BODY_LIMIT_BYTES} bytes; write a shorter one")

    def _reject(self, detail: str) -> None:
        self.served.gauges.add(kaito_chat_rejected_total=1)
        self.answer_unavailable(detail)


def make_app(served: Served) -> tornado.web.Application:
    """Return the application; tests put an engine of their own into `served`."""
    shared = {"served": served}
    routes: list[Any] = [
        (r"/", Root, shared),
        (r"/healthz", Health, shared),
        (r"/readyz", Readiness, shared),
        (r"/metrics", Metrics, shared),
        (r"/chat", Chat, shared),
    ]
    return tornado.web.Application(
        routes, default_handler_class=NotFound, default_handler_args=shared, log_function=_no_log
    )


class NotFound(Handler):
    """Any other path."""

    def prepare(self) -> None:
        """Say so in Kaito's form."""
        self.answer({"detail": "Not Found"}, 404)


def listen(served: Served, host: str, port: int) -> tornado.httpserver.HTTPServer:
    """Start answering on a port of the running event loop."""
    # The handler has the last word on large bodies: it answers 413 where Tornado only hangs up.
    server = tornado.httpserver.HTTPServer(make_app(served), max_body_size=1 << 40)
    server.listen(port, host)
    return server


def _no_log(handler: tornado.web.RequestHandler) -> None:
    """Log no request: prompts are nobody's business, and /metrics counts."""
