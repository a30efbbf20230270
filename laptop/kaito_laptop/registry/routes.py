"""The routes of the registry: each answers one request of the distribution API."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from kaito_laptop.registry.http import RegistryHttp
from kaito_laptop.registry.storage import Storage

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_PART}(?:/{_PART})*"
"""A name of the specification: no part of it is `..`, so that it can be a folder."""
_NAME = rf"(?P<name>{_REPOSITORY})"
_DIGEST = r"sha256:[0-9a-f]{64}"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_ROUTES = (
    ("ping", re.compile(r"/v2/?")),
    ("uploads", re.compile(rf"/v2/{_NAME}/blobs/uploads/?")),
    ("upload", re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<key>[0-9a-f-]{{36}})")),
    ("blob", re.compile(rf"/v2/{_NAME}/blobs/(?P<key>{_DIGEST})")),
    ("manifest", re.compile(rf"/v2/{_NAME}/manifests/(?P<key>{_DIGEST}|{_TAG})")),
    ("tags", re.compile(rf"/v2/{_NAME}/tags/list")),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    name: str = ""
    """Of the repository."""
    key: str = ""
    """Digest, tag or upload session."""


class RegistryHandler(RegistryHttp):
    """Answers one request; the route's name and the method name the function."""

    storage: Storage

    def do_any(self) -> None:
        """Find the route, check the user, answer."""
        self.begin()
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        for route, pattern in _ROUTES:
            if match := pattern.fullmatch(parts.path):
                self._answer(route, Target(**match.groupdict()))
                return
        self.error(404, "NAME_INVALID", "no such route")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

    def _answer(self, route: str, target: Target) -> None:
        is_read = self.command in ("GET", "HEAD")
        authorization = self.headers.get("Authorization", "")
        is_open = is_read and self.storage.is_public(target.name) and not authorization
        if not is_open and not self.storage.is_user(authorization):
            self.error(
                401,
                "UNAUTHORIZED",
                "authentication required",
                {"WWW-Authenticate": 'Basic realm="kaito"'},
            )
            return
        method = "get" if is_read else self.command.lower()
        action = getattr(self, f"{method}_{route}", None)
        if action is None:
            self.error(405, "UNSUPPORTED", f"{self.command} is not supported here")
            return
        action(target)

    def get_ping(self, _target: Target) -> None:
        """Say that this is a registry."""
        self.reply(200, b"{}", {"Content-Type": "application/json"})

    def post_uploads(self, target: Target) -> None:
        """Mount a blob, take it whole, or open a session."""
        mounted = self.query.get("mount", "")
        origin = self.query.get("from", "")
        is_mount = re.fullmatch(_DIGEST, mounted) and re.fullmatch(_REPOSITORY, origin)
        if is_mount and self.storage.link(origin, "blobs", mounted).exists():
            self._link(target.name, "blobs", mounted)
            self._created(f"/v2/{target.name}/blobs/{mounted}", mounted)
            return
        session = str(uuid.uuid4())
        folder = self.storage.session(session)
        folder.mkdir()
        (folder / "repository").write_text(target.name)
        (folder / "content").touch()
        if "digest" in self.query:
            self.put_upload(Target(target.name, session))
            return
        self._session_state(202, target.name, session, 0)

    def get_upload(self, target: Target) -> None:
        """Say how many bytes a session holds."""
        if path := self._session(target.name, target.key):
            self._session_state(204, target.name, target.key, path.stat().st_size)

    def patch_upload(self, target: Target) -> None:
        """Append a part to a session."""
        path = self._session(target.name, target.key)
        if path is None:
            return
        size = path.stat().st_size
        start = re.match(r"(\d+)-\d+", self.headers.get("Content-Range", ""))
        if start and int(start[1]) != size:
            self.drain()
            self._session_state(416, target.name, target.key, size)
            return
        if self.append_body(path):
            self._session_state(202, target.name, target.key, path.stat().st_size)

    def put_upload(self, target: Target) -> None:
        """Append the last part, compare the digest and store the blob."""
        path = self._session(target.name, target.key)
        if path is None or not self.append_body(path):
            return
        digest = self.query.get("digest", "")
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if digest != found:
            self.error(400, "DIGEST_INVALID", f"the content has the digest {found}")
            return
        path.replace(self.storage.blob(digest))
        shutil.rmtree(path.parent)
        self._link(target.name, "blobs", digest)
        self._created(f"/v2/{target.name}/blobs/{digest}", digest)

    def delete_upload(self, target: Target) -> None:
        """Cancel a session."""
        if path := self._session(target.name, target.key):
            shutil.rmtree(path.parent)
            self.reply(204)

    def get_blob(self, target: Target) -> None:
        """Send a blob, or a range of it."""
        path = self.storage.blob(target.key)
        if not self.storage.link(target.name, "blobs", target.key).exists() or not path.exists():
            self.error(404, "BLOB_UNKNOWN", "this repository does not have the blob")
            return
        size = path.stat().st_size
        first, last, status = 0, size - 1, 200
        headers = {
            "Docker-Content-Digest": target.key,
            "Accept-Ranges": "bytes",
            "ETag": f'"{target.key}"',
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            first, last, status = int(wanted[1]), min(int(wanted[2] or last), last), 206
            if first > last:
                self.reply(416, headers={"Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        headers |= {"Content-Type": "application/octet-stream"}
        self.head(status, headers, last - first + 1)
        if self.command == "GET":
            with path.open("rb") as file:
                self.send_range(file.fileno(), first, last + 1)

    def delete_blob(self, target: Target) -> None:
        """Take a blob out of the repository."""
        self._delete_link(self.storage.link(target.name, "blobs", target.key), "BLOB_UNKNOWN")

    def get_manifest(self, target: Target) -> None:
        """Send a manifest."""
        digest = self._digest(target.name, target.key)
        link = self.storage.link(target.name, "manifests", digest) if digest else None
        if link is None or not link.exists():
            self.error(404, "MANIFEST_UNKNOWN", f"{target.name} has no manifest {target.key}")
            return
        body = self.storage.blob(digest).read_bytes()
        headers = {"Content-Type": link.read_text(), "Docker-Content-Digest": digest}
        self.reply(200, body, headers)

    def put_manifest(self, target: Target) -> None:
        """Store a manifest, whose blobs must be there, under its digest and a tag."""
        body = self.read_body(MANIFEST_LIMIT_BYTES + 1)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        try:
            content = json.loads(body)
            parts = [*content.get("layers", []), *filter(None, [content.get("config")])]
            digests = [part["digest"] for part in parts]
            children = [child["digest"] for child in content.get("manifests", [])]
        except (ValueError, KeyError, TypeError, AttributeError):
            self.error(400, "MANIFEST_INVALID", "the manifest is no image manifest or index")
            return
        if target.key.startswith("sha256:") and target.key != digest:
            self.error(400, "DIGEST_INVALID", f"the manifest has the digest {digest}")
            return
        missing = [d for d in digests if not self.storage.link(target.name, "blobs", d).exists()]
        missing += [
            d for d in children if not self.storage.link(target.name, "manifests", d).exists()
        ]
        if missing:
            self.error(400, "MANIFEST_BLOB_UNKNOWN", f"{missing[0]} was not pushed before")
            return
        _write(self.storage.blob(digest), body)
        media_type = self.headers.get("Content-Type") or content.get("mediaType") or OCI_MANIFEST
        _write(self.storage.link(target.name, "manifests", digest), media_type.encode())
        if not target.key.startswith("sha256:"):
            _write(self.storage.link(target.name, "tags", target.key), digest.encode())
        self._created(f"/v2/{target.name}/manifests/{digest}", digest)

    def delete_manifest(self, target: Target) -> None:
        """Delete a tag, or a manifest with all tags that name it."""
        if not target.key.startswith("sha256:"):
            self._delete_link(
                self.storage.link(target.name, "tags", target.key), "MANIFEST_UNKNOWN"
            )
            return
        for tag in self._tags(target.name):
            link = self.storage.link(target.name, "tags", tag)
            if link.read_text() == target.key:
                link.unlink()
        self._delete_link(
            self.storage.link(target.name, "manifests", target.key), "MANIFEST_UNKNOWN"
        )

    def get_tags(self, target: Target) -> None:
        """List the tags of a repository."""
        if not self.storage.repository(target.name).is_dir():
            self.error(404, "NAME_UNKNOWN", f"{target.name} does not exist")
            return
        body = json.dumps({"name": target.name, "tags": self._tags(target.name)}).encode()
        self.reply(200, body, {"Content-Type": "application/json"})

    def _created(self, location: str, digest: str) -> None:
        self.reply(201, headers={"Location": location, "Docker-Content-Digest": digest})

    def _session_state(self, status: int, name: str, session: str, size: int) -> None:
        location = f"/v2/{name}/blobs/uploads/{session}"
        headers = {"Location": location, "Range": f"0-{max(0, size - 1)}"}
        self.reply(status, headers={**headers, "Docker-Upload-UUID": session})

    def _session(self, name: str, key: str) -> Path | None:
        path = self.storage.upload(name, key)
        if path is None:
            self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload session")
        return path

    def _digest(self, name: str, key: str) -> str:
        if key.startswith("sha256:"):
            return key
        link = self.storage.link(name, "tags", key)
        return link.read_text() if link.exists() else ""

    def _tags(self, name: str) -> list[str]:
        folder = self.storage.link(name, "tags", "any").parent
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def _link(self, name: str, kind: str, key: str) -> None:
        _write(self.storage.link(name, kind, key), b"")

    def _delete_link(self, link: Path, code: str) -> None:
        if not link.exists():
            self.error(404, code, "nothing to delete")
            return
        link.unlink()
        self.reply(202)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole: a reader sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
