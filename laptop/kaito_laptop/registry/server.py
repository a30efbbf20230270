"""A small OCI registry on loopback: blobs and manifests in a folder, user and password per push.

It speaks the distribution API (github.com/opencontainers/distribution-spec) as far as image clients
use it: monolithic and chunked uploads, ranges, cross-repository mount, manifests by tag and digest,
deletion and tag lists. Blobs are shared by all repositories; a repository's links say which it has.
"""

import base64
import binascii
import hmac
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from kaito_laptop.registry.routes import RegistryHandler


class Registry:
    """The registry's server and its storage."""

    def __init__(self, storage: Path, users: Mapping[str, str], public: Sequence[str] = ()):
        self.storage = storage
        self.users = dict(users)
        """User name -> password."""
        self.public = tuple(public)
        """Prefixes of repository names that anyone may pull."""
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Host and port, as they are written in image references."""
        assert self._server, "the registry has not been started"
        return f"127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        for folder in ("blobs", "uploads", "repositories"):
            (self.storage / folder).mkdir(parents=True, exist_ok=True)
        handler = type("Handler", (RegistryHandler,), {"registry": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; what is stored stays."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def is_user(self, header: str) -> bool:
        """Return true if an Authorization header names a user with the right password."""
        scheme, _, encoded = header.partition(" ")
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        known = self.users.get(user)
        return (
            scheme.lower() == "basic"
            and known is not None
            and hmac.compare_digest(known.encode(), password.encode())
        )

    def is_public(self, name: str) -> bool:
        """Return true if anyone may pull from the repository."""
        return any(name == p or name.startswith(f"{p.rstrip('/')}/") for p in self.public)

    def open_uploads(self) -> list[str]:
        """Return the upload sessions that were neither completed nor cancelled."""
        return sorted(path.name for path in (self.storage / "uploads").iterdir())

    def blob(self, digest: str) -> Path:
        """Return where the bytes of a digest lie."""
        return self.storage / "blobs" / digest.removeprefix("sha256:")

    def link(self, name: str, kind: str, key: str) -> Path:
        """Return the file that says what a repository has: `blobs`, `manifests` or `tags`."""
        return self.storage / "repositories" / name / f"_{kind}" / key.removeprefix("sha256:")

    def upload(self, name: str, session: str) -> Path | None:
        """Return the file of an upload session that belongs to this repository."""
        path = self.storage / "uploads" / session
        owner = path / "repository"
        return path / "content" if owner.is_file() and owner.read_text() == name else None
