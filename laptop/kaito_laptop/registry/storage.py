"""What the registry keeps, and who may have it.

Blobs are shared by all repositories; a repository's links say which it has.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Storage:
    """The files below one folder, and the users of the registry."""

    folder: Path
    users: Mapping[str, str]
    """User name -> password."""
    public: tuple[str, ...] = ()
    """Prefixes of repository names that anyone may pull."""

    def make(self) -> None:
        """Make the folders."""
        for each in ("blobs", "uploads", "repositories"):
            (self.folder / each).mkdir(parents=True, exist_ok=True)

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
        return sorted(path.name for path in (self.folder / "uploads").iterdir())

    def repository(self, name: str) -> Path:
        """Return the folder of a repository."""
        return self.folder / "repositories" / name

    def blob(self, digest: str) -> Path:
        """Return where the bytes of a digest lie."""
        return self.folder / "blobs" / digest.removeprefix("sha256:")

    def link(self, name: str, kind: str, key: str) -> Path:
        """Return the file that says what a repository has: `blobs`, `manifests` or `tags`."""
        return self.repository(name) / f"_{kind}" / key.removeprefix("sha256:")

    def session(self, session: str) -> Path:
        """Return the folder of an upload session."""
        return self.folder / "uploads" / session

    def upload(self, name: str, session: str) -> Path | None:
        """Return the file of an upload session that belongs to this repository."""
        path = self.session(session)
        owner = path / "repository"
        return path / "content" if owner.is_file() and owner.read_text() == name else None
