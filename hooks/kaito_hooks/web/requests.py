"""What a call must be before a hook sees it: strict JSON, and not one call too many."""

from __future__ import annotations

import threading
from types import TracebackType

import orjson
from werkzeug.exceptions import TooManyRequests

from kaito_hooks.errors import BadRequest

RETRY_AFTER_SECONDS = 5
"""Whole and at least 1: Metacontroller reads anything else as 0 and calls without a pause."""


def read_body(raw: bytes) -> object:
    """The JSON value; raise `BadRequest` for anything that RFC 8259 does not allow, such as NaN."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BadRequest("the body must be JSON") from None


class InFlight:
    """Refuses, with 429, more calls at a time than the limit: they would outwait their caller."""

    def __init__(self, limit: int) -> None:
        self._free = threading.BoundedSemaphore(limit)

    def __enter__(self) -> None:
        if not self._free.acquire(blocking=False):
            raise TooManyRequests(retry_after=RETRY_AFTER_SECONDS)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free.release()
