"""A download that reads like a file: cut connections are resumed by Range, all bytes are hashed."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kaito_runtime.pod.progress import Progress
from kaito_runtime.transfer.transport import (
    BLOCK_BYTES,
    CONNECTION_ERRORS,
    TRIES,
    Answer,
    UnreachableError,
    public_form,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Request = Callable[[Mapping[str, str]], Answer]
"""Sends the GET with these additional headers, and raises for a status that is no success."""


class RestartedError(UnreachableError):
    """The server can't resume, and bytes have been handed out: the reader has to start over."""


class Download(io.RawIOBase):
    """The body of a GET as a readable stream; after its end `sha256` names what was read."""

    def __init__(self, request: Request, progress: Progress, wait: Callable[[int], None]):
        self._request = request
        self._wait = wait
        self._progress = progress
        self._hash = hashlib.sha256()
        self.position = 0
        self._answer = request({})
        self.length = self._answer.length
        self.url = self._answer.url
        self._etag = self._answer.headers.get("ETag", "")
        if self.length is not None and progress.total is None:
            progress.total = self.length

    @property
    def sha256(self) -> str:
        """The hex digest of the bytes read so far."""
        return self._hash.hexdigest()

    def readable(self) -> bool:
        """Return true: this is a stream to read."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes, over a new connection where the last one was cut."""
        view = memoryview(buffer).cast("B")
        attempt = 1
        while True:
            try:
                block = self._answer.read(min(len(view), BLOCK_BYTES))
                is_cut = not block and self.length is not None and self.position < self.length
                cause = f"the connection was cut after {self.position} of {self.length} bytes"
            except CONNECTION_ERRORS as error:
                is_cut, cause = True, f"the connection was cut: {error}"
            if not is_cut:
                break
            if attempt == TRIES:
                raise UnreachableError(f"{public_form(self.url)}: {cause}, {TRIES} times")
            self._wait(attempt)
            attempt += 1
            self._resume(cause)
        view[: len(block)] = block
        self._hash.update(block)
        self.position += len(block)
        self._progress.add(len(block))
        return len(block)

    def read_to_end(self) -> None:
        """Read and hash what is left, so that the digest covers the whole body."""
        while self.read(BLOCK_BYTES):
            pass

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            self._answer.close()
        super().close()

    def _resume(self, cause: str) -> None:
        self._answer.close()
        headers = {"Range": f"bytes={self.position}-"}
        if self._etag and not self._etag.startswith("W/"):
            headers["If-Range"] = self._etag  # another file by now: the server sends it whole
        self._answer = self._request(headers if self.position else {})
        if self.position and self._answer.status != 206:
            raise RestartedError(
                f"{public_form(self.url)}: {cause}, and the server does not resume it"
            )
