"""API keys: who may ask at all."""

import hashlib
import hmac
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure
from kaito_runtime.serving.http.errors import ApiError

log = logging.getLogger(__name__)

SCHEME = "bearer"
ANYONE = b""
"""Who asks where no keys are demanded."""


class ApiKeys:
    """Keys of which each request must have one; kept as digests, compared in constant time."""

    def __init__(self, text: str, changed_text: Callable[[], str | None] = lambda: None):
        """Take one key a line; empty lines and those that begin with # are none.

        `changed_text` returns what took the place of the text, or None where nothing did.
        """
        self._digests = _digests_of(text)
        self._changed_text = changed_text

    @classmethod
    def from_file(cls, path: Path) -> "ApiKeys":
        """Return the keys of a file, such as that of a mounted Secret; it is read again when it changes.

        Raises Failure (ConfigInvalid) where it holds no key.
        """
        file = _KeyFile(path)
        try:
            keys = cls(file.read(), file.changed_text)
        except OSError as error:
            raise Failure(
                Reason.CONFIG_INVALID, f"the file of API keys {path}: {error.strerror}"
            ) from None
        if not keys:
            raise Failure(
                Reason.CONFIG_INVALID, f"the file of API keys {path} has none; write one a line"
            )
        return keys

    def __len__(self) -> int:
        return len(self._digests)

    def holder(self, authorization: str) -> bytes:
        """Return who asks: the digest of a key that is known.

        Raises ApiError (401) for the value of an `Authorization` header without one.
        """
        if (changed := self._changed_text()) is not None:
            self._take(changed)
        scheme, _, key = authorization.strip().partition(" ")
        if scheme.lower() != SCHEME or not key.strip():
            raise _unauthorized("the request must have the header Authorization: Bearer KEY")
        given = _digest(key.strip())
        # All of them, whichever is the right one.
        equal = [hmac.compare_digest(given, each) for each in self._digests]
        if not any(equal):
            raise _unauthorized("the API key in the header Authorization is not a valid one")
        return given

    def _take(self, text: str) -> None:
        digests = _digests_of(text)
        if not digests:
            log.warning("The file of API keys has none now; those that it had stay valid")
            return
        self._digests = digests
        log.info("The file of API keys has changed; %d are valid", len(digests))


class _KeyFile:
    """A file, and whether it has changed since it was read."""

    def __init__(self, path: Path):
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._is_lost = False
        """Whether it could not be read when it was looked at last."""

    def read(self) -> str:
        state = self._state()
        text = self._path.read_text(encoding="utf-8", errors="replace")
        self._seen = state
        return text

    def changed_text(self) -> str | None:
        try:
            changed = self.read() if self._state() != self._seen else None
        except OSError as error:  # gone, or not ours to read: what was read stays valid
            if not self._is_lost:
                log.warning(
                    "The file of API keys is not readable (%s); those that it had stay valid",
                    error.strerror,
                )
            self._is_lost = True
            return None
        self._is_lost = False
        return changed

    def _state(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


def _digests_of(text: str) -> tuple[bytes, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple({_digest(line): None for line in lines if line and not line.startswith("#")})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def _unauthorized(message: str) -> ApiError:
    return ApiError(HTTPStatus.UNAUTHORIZED, message, code="invalid_api_key")
