"""JSON lines, one per call with the parent it was about; never a body, so never a secret in it.

Each line is one write, without a lock and without `logging`: next to threads that compute, its record and
its buffer cost every call ten percent of what the hook answers (`make bench-hook`).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from kaito_hooks.kube.objects import generation, get_in, mapping, name, namespace, text


class Log:
    """Where the lines of one app go."""

    def __init__(self, stream: TextIO | None) -> None:
        """A stream, or standard output itself when None."""
        self._stream = stream

    def call(self, route: str, code: int, seconds: float, parent: dict[str, Any]) -> None:
        """Say that a call was answered."""
        fields = {"route": route, "code": code, "duration_seconds": round(seconds, 4), **parent}
        self._write("info", "Answered hook call", fields)

    def refused(
        self, call: str, code: str, detail: str, ids: Sequence[str], parent: dict[str, Any]
    ) -> None:
        """Say what a provider answered, with the ids by which its support finds the request."""
        fields = {"call": call, "code": code, "detail": detail, "request_ids": list(ids), **parent}
        self._write("warning", "Provider refused", fields)

    def bug(self, path: str, error: Exception) -> None:
        """Say where an exception came from; its text is left out, since it may quote an object."""
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        fields = {"route": path, "error": type(error).__name__, "where": where}
        self._write("error", "Failed to answer hook call", fields)

    def _write(self, level: str, message: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "level": level, "message": message, **fields}
        data = orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE)
        if self._stream is not None:
            self._stream.write(data.decode())
            return
        with suppress(OSError):  # A call is not failed by a line that nobody takes.
            os.write(sys.stdout.fileno(), data)


def parent_of(body: object) -> dict[str, Any]:
    """The fields of a log line that say whom the call was about."""
    parent = get_in(body, "parent")
    return {
        "kind": text(mapping(parent).get("kind")),
        "namespace": namespace(parent),
        "name": name(parent),
        "generation": generation(parent),
    }
