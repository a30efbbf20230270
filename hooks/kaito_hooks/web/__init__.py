"""The web shell of both hooks: Metacontroller's HTTP, and nothing of what a hook decides.

A hook is a function from the parsed body to the answer; everything that HTTP adds lives here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TextIO

from flask import Flask, Response, g, request

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.metacontroller import dump
from kaito_hooks.web import auth, errors, health, logs, metrics
from kaito_hooks.web.requests import InFlight, read_body

Hook = Callable[[object], Manifest]
"""The parsed body in, the answer out; raises `BadRequest` for a body that is no request."""

MAX_IN_FLIGHT = 12
"""Calls answered at once; gunicorn has more threads, so that a probe always finds one."""


def create_app(
    routes: Mapping[str, Hook],
    *,
    ready: Callable[[], str] = lambda: "",
    token: str = "",
    counts: metrics.HookMetrics | None = None,
    log_stream: TextIO | None = None,
) -> Flask:
    """The WSGI app that answers POST at each path of `routes`.

    Args:
        routes: path (such as "/machine/sync") to hook.
        ready: what keeps the process from being ready, in a few words; empty when it is.
        token: bearer token that callers must show; empty for none.
        counts: where the hooks count too, for metrics of their own at /metrics.
        log_stream: where the JSON lines go; standard output when None.
    """
    app = Flask("kaito_hooks", static_folder=None)
    # Metacontroller follows redirects, and turns a 301 or 302 into a GET without body.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    counts = counts or metrics.HookMetrics()
    in_flight = InFlight(MAX_IN_FLIGHT)
    log = logs.Log(log_stream)
    errors.register(app, log)
    app.register_blueprint(health.blueprint(ready))
    app.register_blueprint(metrics.blueprint(counts))
    for path, hook in routes.items():
        view = _view(hook, token, in_flight)
        app.add_url_rule(path, endpoint=path, view_func=view, methods=["POST"])
    _observe(app, frozenset(routes), counts, log)
    return app


def _view(hook: Hook, token: str, in_flight: InFlight) -> Callable[[], Response]:
    def view() -> Response:
        auth.require(token, request.headers.get("Authorization", ""))
        with in_flight:
            body = read_body(request.get_data(cache=False))
            g.parent = logs.parent_of(body)
            return Response(dump(hook(body)), mimetype="application/json")

    return view


def _observe(
    app: Flask, routes: frozenset[str], counts: metrics.HookMetrics, log: logs.Log
) -> None:
    """One log line and one count per hook call; probes and scrapes are neither."""

    def start() -> None:
        g.started = time.perf_counter()

    def finish(response: Response) -> Response:
        path = request.url_rule.rule if request.url_rule else ""
        if path in routes:
            seconds = time.perf_counter() - g.started
            counts.observe_call(path, response.status_code, seconds)
            log.call(path, response.status_code, seconds, g.get("parent") or {})
        return response

    app.before_request(start)
    app.after_request(finish)
