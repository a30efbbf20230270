"""JSON lines, one per call with the parent it was about; never a body, so never a secret in it."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from flask import Flask

from kaito_hooks.kube.objects import generation, get_in, mapping, name, namespace, text


def configure(app: Flask, stream: TextIO | None) -> None:
    """Give the app its own logger, apart from those of libraries."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_JsonLines())
    app.logger.handlers[:] = [handler]
    app.logger.setLevel(logging.INFO)
    app.logger.propagate = False


def parent_of(body: object) -> dict[str, Any]:
    """The fields of a log line that say whom the call was about."""
    parent = get_in(body, "parent")
    return {
        "kind": text(mapping(parent).get("kind")),
        "namespace": namespace(parent),
        "name": name(parent),
        "generation": generation(parent),
    }


def call(app: Flask, route: str, code: int, seconds: float, parent: dict[str, Any]) -> None:
    """Say that a call was answered."""
    fields = {"route": route, "code": code, "duration_seconds": round(seconds, 4), **parent}
    app.logger.info("Answered hook call", extra={"fields": fields})


def bug(app: Flask, path: str, error: Exception) -> None:
    """Say where an exception came from; its text is left out, since it may quote an object."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
    fields = {"route": path, "error": type(error).__name__, "where": where}
    app.logger.error("Failed to answer hook call", extra={"fields": fields})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return orjson.dumps(line, default=str).decode()
