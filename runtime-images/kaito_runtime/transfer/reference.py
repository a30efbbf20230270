"""Image references: `registry/name[:tag][@digest]`."""

import re
from dataclasses import dataclass

from kaito_runtime.transfer.transport import is_loopback

DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"

# The grammar of the OCI distribution specification, "Pulling manifests".
_NAME = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """One image in one registry."""

    registry: str
    """Host and port, as written by the user."""
    name: str
    tag: str | None
    digest: str | None

    @property
    def version(self) -> str:
        """What names the manifest: the digest where there is one, else the tag."""
        return self.digest or self.tag or "latest"

    @property
    def base_url(self) -> str:
        """The registry's URL: HTTPS, and plain HTTP for loopback hosts."""
        scheme = "http" if is_loopback(self.registry) else "https"
        host = DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry
        return f"{scheme}://{host}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.name}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Return the parts of an image reference; raises ValueError with the remedy."""
    rest, at, digest = text.strip().partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f'image "{text}" must end in "@sha256:" and 64 hex digits, or have no "@"')
    if "://" in rest:
        scheme = rest.partition("://")[0]
        raise ValueError(f'image "{text}" must be written without "{scheme}://"')
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, rest = head, tail
    else:  # Docker's rule: no registry means Docker Hub, no organisation means its library
        registry, rest = DOCKER_HUB, rest if slash else f"library/{rest}"
    name, colon, tag = rest.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'image "{text}" has the repository "{name}"; write it in lower case, as in '
            '"registry.example.com/team/adapter:v1"'
        )
    if colon and not _TAG.fullmatch(tag):
        raise ValueError(
            f'image "{text}" has the tag "{tag}"; a tag has 1 to 128 letters, digits, ".", "_" '
            'or "-"'
        )
    return Reference(registry, name, tag or None, digest or None)


def parse_output_reference(text: str) -> Reference:
    """Return an image reference that can be pushed to: a registry, a name and a tag."""
    reference = parse_reference(text)
    if reference.digest:
        raise ValueError(f'output image "{text}" must have a tag, not a digest: write ":v1"')
    if not reference.tag:
        raise ValueError(f'output image "{text}" must end in a tag: write "{text}:v1"')
    return reference
