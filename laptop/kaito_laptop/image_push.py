"""Putting a folder into a registry as an image of one layer."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import tarfile
from pathlib import Path

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


class PushError(Exception):
    """The registry refused a part of the image."""


class ImagePush:
    """Pushes to one repository of a registry on loopback."""

    def __init__(self, address: str, repository: str, user: str, password: str) -> None:
        self._address = address
        self._repository = repository
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}

    def folder(self, folder: Path, path: str, tag: str) -> str:
        """Push the files of a folder, which the image has below `path`; return the digest."""
        layer = _layer(folder, path)
        layer_digest = _digest(layer)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": self._blob(config, OCI_CONFIG),
                "layers": [self._blob(layer, OCI_LAYER)],
            }
        ).encode()
        self._request("PUT", f"manifests/{tag}", manifest, OCI_MANIFEST, 201)
        return _digest(manifest)

    def _blob(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = _digest(content)
        place = self._request("POST", "blobs/uploads/", b"", "application/octet-stream", 202)
        joint = "&" if "?" in place else "?"
        self._send(
            "PUT", f"{place}{joint}digest={digest}", content, "application/octet-stream", 201
        )
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _request(self, method: str, path: str, body: bytes, type_: str, status: int) -> str:
        return self._send(method, f"/v2/{self._repository}/{path}", body, type_, status)

    def _send(self, method: str, path: str, body: bytes, type_: str, status: int) -> str:
        """Return the Location of the answer."""
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            headers = {**self._headers, "Content-Type": type_}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status != status:
            raise PushError(f"{method} {path} at {self._address}: {answer.status} {text[:200]}")
        # A registry may answer with a whole URL.
        place = answer.getheader("Location", "")
        return place.removeprefix(f"http://{self._address}")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _layer(folder: Path, path: str) -> bytes:
    """Return a tar archive that depends on the files' contents only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            relative = file.relative_to(folder).as_posix()
            entry = tarfile.TarInfo(f"{path.strip('/')}/{relative}")
            entry.size, entry.mode = file.stat().st_size, 0o644
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return buffer.getvalue()
