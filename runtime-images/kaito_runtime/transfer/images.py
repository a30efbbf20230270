"""Images as folders: unpack one path of an image, and push files as an image."""

import hashlib
import io
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaito_contract.reasons import Reason
from kaito_runtime.pod.termination import Failure, Retryable
from kaito_runtime.transfer import layers
from kaito_runtime.transfer.download import RestartedError
from kaito_runtime.transfer.registry import (
    DOCKER_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    Repository,
    digest_of,
)
from kaito_runtime.transfer.transport import TRIES, UnreachableError

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class PackedImage:
    """An image ready to be pushed: its layer file and the bytes of configuration and manifest."""

    layer: Path
    layer_digest: str
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """The digest under which any registry will know the image."""
        return digest_of(self.manifest)


def unpack_image(repository: Repository, path: str, target: Path, label: str) -> str:
    """Write the files below `path` of an image to a folder and return the manifest's digest."""
    manifest = platform_manifest(repository)
    found = manifest.content.get("layers")
    if not isinstance(found, list) or not all(isinstance(e, dict) and "digest" in e for e in found):
        raise Failure(
            Reason.IMAGE_INVALID,
            f"{repository.reference} is an image of a kind that is not supported "
            f"({manifest.media_type or 'no media type'}); push it with a current builder",
        )
    for number, layer in enumerate(found, 1):
        name = f"{label} (layer {number} of {len(found)})" if len(found) > 1 else label
        _unpack_layer(repository, layer, path, target, name)
    if not any(target.iterdir()):
        raise Failure(
            Reason.IMAGE_INVALID,
            f"{repository.reference} has no files below {path}; put them there when building it",
        )
    if config := manifest.content.get("config", {}).get("digest"):
        repository.read_blob(config)
    return manifest.digest


def platform_manifest(repository: Repository) -> Manifest:
    """Return the image's manifest; of an index the one for this machine's architecture."""
    manifest = repository.manifest()
    entries = manifest.content.get("manifests")
    if manifest.media_type not in (OCI_INDEX, DOCKER_LIST) and not entries:
        return manifest
    architecture = _MACHINES.get(platform.machine(), platform.machine())
    for entry in entries if isinstance(entries, list) else []:
        runs_on = entry.get("platform", {})
        if runs_on.get("os", "linux") == "linux" and runs_on.get("architecture") == architecture:
            return repository.manifest(entry["digest"])
    raise Failure(
        Reason.IMAGE_INVALID,
        f"{repository.reference} has no image for linux/{architecture}; build it for that platform",
    )


def pack_image(
    files: Mapping[str, Path],
    folder: Path,
    labels: Mapping[str, str],
) -> PackedImage:
    """Pack files (name in the image -> file) as an image of one plain layer."""
    layer = folder / "layer.tar"
    with layer.open("w+b") as file:
        layers.pack(files, file)
    layer_digest = file_digest(layer)
    config = _canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(labels)} if labels else {},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [
            {"mediaType": PLAIN_LAYER, "digest": layer_digest, "size": layer.stat().st_size}
        ],
    }
    return PackedImage(layer, layer_digest, config, _canonical(manifest))


def push_image(image: PackedImage, repository: Repository, label: str) -> None:
    """Send an image, read its manifest back and compare the digest."""
    with image.layer.open("rb") as file:
        repository.upload_blob(file, image.layer_digest, image.layer.stat().st_size, label)
    repository.upload_blob(
        io.BytesIO(image.config), digest_of(image.config), len(image.config), "configuration"
    )
    repository.put_manifest(image.manifest, OCI_MANIFEST)
    stored = repository.manifest()
    if stored.digest != image.digest:
        raise Failure(
            Reason.DIGEST_MISMATCH,
            f"{repository.reference} reads back as {stored.digest}, pushed was {image.digest}; "
            "does someone else push to this tag? Write another tag, or push again",
        )


def file_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _unpack_layer(
    repository: Repository, layer: dict[str, Any], path: str, target: Path, label: str
) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            with repository.open_blob(layer["digest"], label, layer.get("size")) as blob:
                try:
                    layers.unpack(blob, path, target)
                except Failure as failure:
                    if failure.reason is Reason.IMAGE_INVALID:
                        repository.verify(blob, layer["digest"])  # damaged bytes come first
                    raise
                repository.verify(blob, layer["digest"])
            return
        except RestartedError as error:
            # Unpacking a layer twice gives the same files, so starting over is safe.
            if attempt == TRIES:
                raise Retryable(Reason.REGISTRY_UNREACHABLE, str(error)) from None
            repository.transport.wait(attempt)
        except UnreachableError as error:
            raise Retryable(Reason.REGISTRY_UNREACHABLE, f"{error}; check the network") from None


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
