"""The one place where an exception becomes an HTTP status.

Never a success: an empty 200 would tell Metacontroller to delete all children. The text ends up in
an event on the parent, so it holds nothing of what the objects hold.
"""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, TooManyRequests

from kaito_hooks.errors import BadRequest
from kaito_hooks.metacontroller import dump
from kaito_hooks.web.logs import Log


def register(app: Flask, log: Log) -> None:
    """Translate everything that can leave a view."""

    def bad_request(error: BadRequest) -> Response:
        return _answer(400, str(error))

    def http_error(error: HTTPException) -> Response:
        answer = _answer(error.code or 500, error.name)
        if isinstance(error, TooManyRequests) and isinstance(error.retry_after, int):
            answer.headers["Retry-After"] = str(error.retry_after)
        if isinstance(error.code, int) and error.code == 405:
            answer.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return answer

    def bug(error: Exception) -> Response:
        log.bug(request.path, error)
        return _answer(500, f"internal error: {type(error).__name__}")

    app.register_error_handler(BadRequest, bad_request)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, bug)


def _answer(status: int, text: str) -> Response:
    return Response(dump({"error": text}), status=status, mimetype="application/json")
