"""A small OCI registry on loopback: blobs and manifests in a folder, user and password per push.

It speaks the distribution API (github.com/opencontainers/distribution-spec) as far as image clients
use it: monolithic and chunked uploads, ranges, cross-repository mount, manifests by tag and digest,
deletion and tag lists.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Self

from kaito_laptop.registry.routes import RegistryHandler
from kaito_laptop.registry.storage import Storage


class Registry:
    """Serves while the context is open; what is stored stays."""

    def __init__(self, folder: Path, users: Mapping[str, str], public: Sequence[str] = ()) -> None:
        """`users` are passwords by name; anyone may pull from the `public` repositories."""
        self.storage = Storage(folder, users, tuple(public))
        self.storage.make()
        handler = type("Handler", (RegistryHandler,), {"storage": self.storage})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def address(self) -> str:
        """Host and port, as they are written in image references."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
