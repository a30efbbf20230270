"""Faulty hooks, which take the place of a story's hooks for a while."""

from __future__ import annotations

import time

from kaito_laptop.metacontroller.hooks import HookAnswer, HookCaller, HookUnreachableError

FAULTY = {"x-faulty": "yes"}
"""On answers that break the wire contract on purpose."""


def down(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
    """Nobody answers."""
    raise HookUnreachableError(f'Post "{url}": connection refused')


def slow(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
    """The caller gives up."""
    time.sleep(0.2)
    raise HookUnreachableError(f'Post "{url}": context deadline exceeded')


def garbage(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
    """A proxy answers in the hook's place."""
    return HookAnswer(200, FAULTY, b"<html>Sign in</html>")


def broken(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
    """The hook has a bug."""
    return HookAnswer(500, FAULTY, b"internal error")


def busy(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
    """The hook asks to come back."""
    return HookAnswer(429, {**FAULTY, "retry-after": "1"}, b"")


def faulty_for(name: str, faulty: HookCaller, well: HookCaller) -> HookCaller:
    """The fault for the parents whose name begins like this."""

    def call(url: str, body: bytes, timeout_seconds: float) -> HookAnswer:
        which = faulty if f'"name":"{name}'.encode() in body else well
        return which(url, body, timeout_seconds)

    return call
