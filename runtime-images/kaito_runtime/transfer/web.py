"""Files behind URLs: whole downloads for pull, and a seekable view by Range requests for check."""

import io
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from kaito_contract.reasons import Reason
from kaito_runtime.pod.progress import Progress
from kaito_runtime.pod.termination import Failure, Retryable
from kaito_runtime.transfer.download import Download, RestartedError
from kaito_runtime.transfer.transport import (
    BLOCK_BYTES,
    CONNECTION_ERRORS,
    RETRIED_STATUS,
    TRIES,
    Answer,
    Transport,
    UnreachableError,
    public_form,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# An unchanged body is what Content-Length and Range speak about.
_HEADERS = {"Accept-Encoding": "identity"}


def file_name(url: str) -> str:
    """Return the last part of a URL's path, without the query."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Failure(
            Reason.DATA_UNREACHABLE,
            f'data URL "{public_form(url)}" must begin with "https://" and name a host',
        )
    name = posixpath.basename(unquote(parts.path))
    return name if name not in ("", ".", "..") else "data"


def file_names(urls: Sequence[str]) -> list[str]:
    """Return one name per URL; two URLs of one name are refused, as one file would be lost."""
    names = [file_name(url) for url in urls]
    for name in names:
        if names.count(name) > 1:
            raise Failure(
                Reason.DATA_UNREACHABLE,
                f'two data URLs end in "{name}"; rename one of the files, since both would be '
                "written to the same place",
            )
    return names


def download_all(urls: Sequence[str], folder: Path, transport: Transport) -> None:
    """Download each URL into a folder."""
    for url, name in zip(urls, file_names(urls), strict=True):
        with (folder / name).open("w+b") as file:
            download(url, file, transport, name)


def download(url: str, target: BinaryIO, transport: Transport, label: str) -> int:
    """Write a URL's whole body to a file and return its size in bytes."""

    def get(headers: Mapping[str, str]) -> Answer:
        return _get(url, headers, transport)

    for attempt in range(1, TRIES + 1):
        target.seek(0)
        target.truncate()
        try:
            with Download(get, Progress(label), transport.wait) as body:
                while block := body.read(BLOCK_BYTES):
                    target.write(block)
                return body.position
        except RestartedError as error:
            if attempt == TRIES:
                raise _unreachable(url, str(error)) from None
            transport.wait(attempt)
        except UnreachableError as error:
            raise _unreachable(url, str(error)) from None
        except CONNECTION_ERRORS as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise _unreachable(url, transport.explain(url, error)) from None
    raise AssertionError("unreachable")


class RemoteFile(io.RawIOBase):
    """A file on a server that answers Range requests, as a seekable file."""

    def __init__(self, url: str, transport: Transport, size: int):
        self.url = url
        self.size = size
        self._transport = transport
        self._position = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def seekable(self) -> bool:
        """Return true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, without a request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the bytes from here with one Range request."""
        view = memoryview(buffer).cast("B")
        last = min(self._position + len(view), self.size) - 1
        if last < self._position:
            return 0
        try:
            answer = _get(self.url, {"Range": f"bytes={self._position}-{last}"}, self._transport)
            body = answer.read()
        except UnreachableError as error:
            raise _unreachable(self.url, str(error)) from None
        except CONNECTION_ERRORS as error:
            raise _unreachable(self.url, self._transport.explain(self.url, error)) from None
        if answer.status != 206 or len(body) != last - self._position + 1:
            raise _unreachable(self.url, "the server answered a Range request with other bytes")
        view[: len(body)] = body
        self._position += len(body)
        return len(body)


def open_url(url: str, transport: Transport, scratch: BinaryIO) -> tuple[BinaryIO, int]:
    """Return a URL's content as a seekable file and its size; by Range where the server can.

    Without Range the content is downloaded into `scratch`.
    """
    try:
        answer = _get(url, {"Range": "bytes=0-0"}, transport)
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status == 206 and total.isdigit():
            answer.read()
            remote = RemoteFile(url, transport, int(total))
            return cast(BinaryIO, io.BufferedReader(remote, BLOCK_BYTES)), int(total)
        answer.close()
    except UnreachableError as error:
        raise _unreachable(url, str(error)) from None
    size = download(url, scratch, transport, file_name(url))
    scratch.seek(0)
    return scratch, size


def _get(url: str, headers: Mapping[str, str], transport: Transport) -> Answer:
    answer = transport.request("GET", url, {**_HEADERS, **headers})
    if answer.status in (200, 206):
        return answer
    answer.read()
    remedies = {
        401: "it wants a login: use a URL that carries its own signature, or data in an image",
        403: "access is denied: is a signature in the URL too old?",
        404: "no file is there: correct the URL",
        416: "the file is empty",
    }
    remedy = remedies.get(answer.status, "open the URL in a browser to see what the server says")
    kind = Retryable if answer.status in RETRIED_STATUS else Failure
    raise kind(
        Reason.DATA_UNREACHABLE,
        f"data URL {public_form(url)}: the server answered {answer.status}; {remedy}",
    )


def _unreachable(url: str, cause: str) -> Retryable:
    return Retryable(Reason.DATA_UNREACHABLE, f"data URL {public_form(url)}: {cause}")
