"""A client of the OCI distribution API: manifests and blobs of one repository, without a daemon."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from kaito_contract.reasons import Reason
from kaito_contract.references import DOCKER_HUB, Reference
from kaito_runtime.pod.progress import Progress
from kaito_runtime.pod.termination import Failure, Retryable
from kaito_runtime.transfer.credentials import Credential
from kaito_runtime.transfer.download import Download
from kaito_runtime.transfer.tokens import Tokens
from kaito_runtime.transfer.transport import (
    CONNECTION_ERRORS,
    TRIES,
    Answer,
    Transport,
    UnreachableError,
    is_loopback,
)

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)

PART_BYTES = 16 * 1024 * 1024
"""A blob goes up in parts of this size, so that a cut connection costs one part at most."""


DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True)
class Manifest:
    """A manifest as the registry stores it."""

    content: dict[str, Any]
    digest: str
    media_type: str


def base_url(registry: str) -> str:
    """Return a registry's URL: HTTPS, and plain HTTP for loopback hosts."""
    scheme = "http" if is_loopback(registry) else "https"
    return f"{scheme}://{DOCKER_HUB_API if registry == DOCKER_HUB else registry}"


def digest_of(content: bytes) -> str:
    """Return the digest that names these bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Repository:
    """One repository of a registry, seen for pulling or for pushing."""

    def __init__(
        self,
        reference: Reference,
        credential: Credential | None,
        transport: Transport,
        *,
        push: bool = False,
    ):
        self.reference = reference
        self.credential = credential
        self.transport = transport
        self._push = push
        self._url = f"{base_url(reference.registry)}/v2/{reference.repository}"
        actions = "pull,push" if push else "pull"
        self._tokens = Tokens(credential, transport, f"repository:{reference.repository}:{actions}")

    def manifest(self, version: str | None = None) -> Manifest:
        """Return the manifest of a tag or digest, its digest verified."""
        version = version or self.reference.version
        answer = self._request("GET", f"manifests/{version}", {"Accept": ", ".join(MANIFEST_TYPES)})
        body = answer.read()
        if answer.status != 200:
            raise self._refused(answer, body, f"the manifest {version}")
        digest = digest_of(body)
        if version.startswith("sha256:") and digest != version:
            raise self._mismatch("manifest", version, digest)
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise Failure(
                Reason.IMAGE_INVALID, f"the manifest of {self.reference} is not a JSON object"
            )
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        return Manifest(content, digest, content.get("mediaType") or media_type)

    def open_blob(self, digest: str, label: str, size: int | None = None) -> Download:
        """Return a blob as a stream; the caller reads it to its end and calls `verify`."""

        def get(headers: Mapping[str, str]) -> Answer:
            answer = self._request("GET", f"blobs/{digest}", headers)
            if answer.status not in (200, 206):
                raise self._refused(answer, answer.read(), f"the blob {digest}")
            return answer

        return Download(get, Progress(label, size), self.transport.wait)

    def verify(self, blob: Download, digest: str) -> None:
        """Read a blob to its end and compare its digest."""
        blob.read_to_end()
        if f"sha256:{blob.sha256}" != digest:
            raise self._mismatch("blob", digest, f"sha256:{blob.sha256}")

    def read_blob(self, digest: str) -> bytes:
        """Return a small blob, such as an image's configuration, its digest verified."""
        with self.open_blob(digest, "configuration") as blob:
            content = blob.read()
            self.verify(blob, digest)
        return content or b""

    def has_blob(self, digest: str) -> bool:
        """Return true if the repository holds the blob already."""
        answer = self._request("HEAD", f"blobs/{digest}")
        answer.read()
        return answer.status == 200

    def begin_upload(self) -> str:
        """Open an upload session and return its URL: the proof that a push is allowed."""
        answer = self._request("POST", "blobs/uploads/", {"Content-Length": "0"}, b"")
        body = answer.read()
        if answer.status != 202:
            raise self._refused(answer, body, "an upload")
        return self._location(answer)

    def cancel_upload(self, session: str) -> None:
        """Close an upload session without a blob; registries that can't are left to expire it."""
        self._request("DELETE", session).read()

    def upload_blob(self, source: BinaryIO, digest: str, size: int, label: str) -> None:
        """Send a blob unless the repository has it; a cut connection resumes where it was."""
        if self.has_blob(digest):
            return
        session, position = self.begin_upload(), 0
        progress = Progress(label, size)
        failures = 0
        while position < size:
            source.seek(position)
            part = source.read(PART_BYTES)
            session, sent = self._send_part(session, part, position)
            if sent <= position:
                failures += 1
                if failures == TRIES:
                    raise self._unreachable(f"the upload of {digest} stopped at byte {position}")
                self.transport.wait(failures)
                session, sent = self._resume(session)
            else:
                failures = 0
            progress.add(max(0, sent - position))
            position = sent
        separator = "&" if urlsplit(session).query else "?"
        answer = self._request(
            "PUT", f"{session}{separator}digest={digest}", {"Content-Length": "0"}, b""
        )
        body = answer.read()
        if answer.status == 400 and b"DIGEST_INVALID" in body:
            raise Failure(
                Reason.DIGEST_MISMATCH,
                f"{self.reference.registry} received other bytes than {digest}; push again",
            )
        if answer.status != 201:
            raise self._refused(answer, body, f"the blob {digest}")

    def put_manifest(self, content: bytes, media_type: str) -> None:
        """Store a manifest under the reference's tag."""
        answer = self._request(
            "PUT", f"manifests/{self.reference.version}", {"Content-Type": media_type}, content
        )
        body = answer.read()
        if answer.status not in (200, 201, 202):
            raise self._refused(answer, body, "the manifest")

    def _send_part(self, session: str, part: bytes, position: int) -> tuple[str, int]:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{position}-{position + len(part) - 1}",
        }
        try:
            answer = self._request("PATCH", session, headers, part, tries=1)
        except Failure as failure:
            if failure.reason is not Reason.REGISTRY_UNREACHABLE:
                raise
            return session, position
        body = answer.read()
        if answer.status == 202:
            return self._location(answer), _received(answer, position + len(part))
        if answer.status in (401, 403, 413) or answer.status < 400:
            raise self._refused(answer, body, "a part of a blob")
        return session, position

    def _resume(self, session: str) -> tuple[str, int]:
        answer = self._request("GET", session)
        answer.read()
        if answer.status == 204:
            return self._location(answer, session), _received(answer, 0)
        return self.begin_upload(), 0  # the session is gone: only a new one helps

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        tries: int = TRIES,
    ) -> Answer:
        url = path if "://" in path else f"{self._url}/{path}"
        headers = dict(headers or {})
        try:
            for is_last in (False, True):
                answer = self.transport.request(
                    method, url, {**headers, **self._tokens.headers(url)}, body, tries=tries
                )
                if answer.status != 401 or is_last:
                    break
                challenge = answer.headers.get("WWW-Authenticate", "")
                if not self._tokens.answer_challenge(challenge, url):
                    break
                answer.read()
        except UnreachableError as error:
            raise self._unreachable(str(error)) from None
        except CONNECTION_ERRORS as error:
            raise self._unreachable(self.transport.explain(url, error)) from None
        return answer

    def _location(self, answer: Answer, fallback: str = "") -> str:
        return urljoin(answer.url, answer.headers.get("Location") or fallback)

    def _refused(self, answer: Answer, body: bytes, what: str) -> Failure:
        image, status = self.reference, answer.status
        said = _registry_message(body)
        if status in (401, 403):
            verb = "push to" if self._push else "pull"
            return Failure(
                Reason.PUSH_DENIED if self._push else Reason.PULL_DENIED,
                f'{image.registry} does not let this pod {verb} "{image.repository}" ({status}{said}): '
                f"{self._credential_remedy()}",
            )
        if status == 404 and self._push:
            return Failure(
                Reason.OUTPUT_IMAGE_INVALID,
                f'{image.registry} has no repository "{image.repository}" (404{said}): create it there, '
                "or write the name of one that exists",
            )
        if status == 404:
            return Failure(
                Reason.IMAGE_NOT_FOUND,
                f"{image} does not have {what} (404{said}): correct the name or push the image; "
                "some registries also answer this when the pull secret is missing",
            )
        if status == 429 or status >= 500:
            return self._unreachable(f"{image.registry} answered {status}{said} {TRIES} times")
        reason = Reason.OUTPUT_IMAGE_INVALID if self._push else Reason.IMAGE_INVALID
        return Failure(reason, f"{image.registry} refused {what} of {image}: {status}{said}")

    def _credential_remedy(self) -> str:
        if self.credential:
            return f"the user or password in {self.credential.source} is wrong or lacks the right"
        secret = "imagePushSecret" if self._push else "imagePullSecrets"
        registry = self.reference.registry
        return f"no credentials for {registry} were given; name a Secret in `{secret}`"

    def _unreachable(self, cause: str) -> Retryable:
        return Retryable(
            Reason.REGISTRY_UNREACHABLE,
            f"{cause}; check the registry's name in {self.reference} and the network",
        )

    def _mismatch(self, what: str, wanted: str, found: str) -> Failure:
        return Failure(
            Reason.DIGEST_MISMATCH,
            f"{self.reference.registry} sent a {what} with the digest {found} for {wanted}: its "
            "storage or the way to it is damaged; push the image again",
        )


def _received(answer: Answer, otherwise: int) -> int:
    """Return how many bytes the registry holds, from `Range: 0-1048575`."""
    match = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", "").strip())
    if not match:
        return otherwise
    last = int(match[1])
    return last + 1 if last else min(otherwise, 1)  # "0-0" is also what an empty session answers


def _registry_message(body: bytes) -> str:
    try:
        first = json.loads(body)["errors"][0]
        return f", {first.get('code')}: {str(first.get('message'))[:200]}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
