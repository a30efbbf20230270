"""The web server in front of a ChatEngine: Kaito's routes on Tornado, and nothing about models."""

import socket
from typing import Any

import tornado.web
from prometheus_client import CONTENT_TYPE_LATEST

from kaito_runtime.pod.host_metrics import machine_figures
from kaito_runtime.serving.http.chat import ChatHandler
from kaito_runtime.serving.http.errors import ApiError
from kaito_runtime.serving.http.handler import Handler, unavailable
from kaito_runtime.serving.http.limits import LimitedServer
from kaito_runtime.serving.http.live_metrics import exposition
from kaito_runtime.serving.http.openai.chat import ChatCompletions
from kaito_runtime.serving.http.openai.completions import Completions
from kaito_runtime.serving.http.openai.models import Models, OneModel
from kaito_runtime.serving.http.openapi import openapi
from kaito_runtime.serving.http.state import ServerState

BACKLOG = 128
"""Connections that wait to be accepted; tornado.netutil has as many."""


class Root(Handler):
    """`GET /`."""

    def prepare(self) -> None:
        """Demand a key from programs; the page holds no secret, and a browser could not send one."""
        self.needs_key = not self._is_browser
        super().prepare()

    def get(self) -> None:
        """Send the page to a browser; say to a program that the server runs, and with which adapter."""
        self.set_header("Vary", "Accept")
        if self._is_browser:
            self.send_page("chat.html")
            return
        if self.state.adapter_digest:
            self.set_header("Kaito-Adapter-Digest", self.state.adapter_digest)
        self.answer({"message": "Server is running"})

    @property
    def _is_browser(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")


class Health(Handler):
    """`GET /healthz`: is the process worth keeping?"""

    needs_key = False

    def get(self) -> None:
        """Fail only when the engine has died."""
        engine = self.state.engine
        if engine is not None and not engine.is_healthy():
            self.answer_error(ApiError(500, "Model not initialized"))
            return
        self.answer({"status": "Healthy"})


class Readiness(Handler):
    """`GET /readyz`: can a chat be answered?"""

    needs_key = False

    def get(self) -> None:
        """Fail until one token has been generated with each adapter, and again while stopping."""
        if self.state.is_ready:
            phases = self.state.start.seconds.items()
            start = {name: round(seconds, 3) for name, seconds in phases}
            self.answer({"status": "Ready", "startSeconds": start})
        else:
            self.answer_error(unavailable("The model is being loaded"))


class Metrics(Handler):
    """`GET /metrics`."""

    def get(self) -> None:
        """Send Prometheus' text, or Kaito's JSON where the client accepts only that."""
        if "application/json" in self.request.headers.get("Accept", ""):
            self.answer(machine_figures())
            return
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(exposition(self.state))


class OpenApi(Handler):
    """`GET /openapi.json`."""

    needs_key = False

    def get(self) -> None:
        """Send the document."""
        self.answer(openapi())


class Docs(Handler):
    """`GET /docs`."""

    needs_key = False

    def get(self) -> None:
        """Send the page that shows the document."""
        self.send_page("docs.html")


class NotFound(Handler):
    """Any other path."""

    is_known = False

    def prepare(self) -> None:
        """Say so."""
        super().prepare()
        if not self._finished:
            self.answer_error(ApiError(404, "Not Found", code="not_found"))


def make_app(state: ServerState) -> tornado.web.Application:
    """Return the application; tests put an engine of their own into `state`."""
    shared = {"state": state}
    routes: list[Any] = [
        (r"/", Root, shared),
        (r"/healthz", Health, shared),
        (r"/readyz", Readiness, shared),
        (r"/metrics", Metrics, shared),
        (r"/openapi.json", OpenApi, shared),
        (r"/docs", Docs, shared),
        (r"/chat", ChatHandler, shared),
        (r"/v1/models", Models, shared),
        (r"/v1/models/(.+)", OneModel, shared),
        (r"/v1/chat/completions", ChatCompletions, shared),
        (r"/v1/completions", Completions, shared),
    ]
    return tornado.web.Application(
        routes, default_handler_class=NotFound, default_handler_args=shared, log_function=_no_log
    )


def listen(state: ServerState, host: str, port: int) -> LimitedServer:
    """Start answering on a port of the running event loop."""
    server = LimitedServer(make_app(state), state.limits, state.metrics.dropped.inc)
    state.connections = lambda: server.open_connections
    # Tornado's own listen leaves the socket open when the port is taken.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    server.add_socket(listener)
    return server


def _no_log(handler: tornado.web.RequestHandler) -> None:
    """Log no request: prompts are nobody's business, and /metrics counts."""
