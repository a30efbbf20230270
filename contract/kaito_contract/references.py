"""Image references: `registry/repository[:tag][@digest]`.

The grammar of github.com/distribution/reference (regexp.go, normalize.go), and what is stricter here: a
digest is sha256, the one that every registry has; a tag or a digest is written out, as Kaito demands
(pkg/utils, "require full input/output image URL"), since `latest` names no content; a name that begins in
upper case is no registry. An output names its registry and a tag: a push to Docker Hub by accident would
publish an adapter, and a digest is known after the push only.
"""

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
REPOSITORY_LIMIT = 255
"""Characters of a repository (reference.go, RepositoryNameTotalLengthMax)."""

_EXAMPLE = "registry.example/team/adapter:0.0.1"
_COMPONENT = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PATH}(?:/{_PATH})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class InvalidReference(ValueError):
    """The text is no reference; the error says what it must be."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One image in one registry."""

    registry: str
    """Host and port, as written by the user."""
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def version(self) -> str:
        """What names the manifest: the digest where there is one, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(text: str) -> Reference:
    """Return the parts of a reference to pull.

    Raises:
        InvalidReference: it is none.
    """
    if "://" in text:
        raise InvalidReference(f"must be written without '{text.partition('://')[0]}://'")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidReference("must have 'sha256:' and 64 hexadecimal digits after the '@'")
    registry, rest = _split(rest)
    if not _REGISTRY.fullmatch(registry):
        raise InvalidReference(f"must begin with a host name, which '{registry}' is not")
    repository, colon, tag = rest.partition(":")
    if repository != repository.lower():
        raise InvalidReference(f"must have a lower-case repository, not '{repository}'")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > REPOSITORY_LIMIT:
        raise InvalidReference(f"must be an image reference, such as {_EXAMPLE}")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(
            "must have a tag of 1 to 128 letters, digits, '_', '.' and '-', not beginning with '.' "
            f"or '-', and '{tag}' is none"
        )
    if not tag and not digest:
        raise InvalidReference("must end with a tag, such as ':0.0.1'")
    return Reference(registry, repository, tag, digest)


def parse_output(text: str) -> Reference:
    """Return the parts of a reference to push to: registry, repository and tag.

    Raises:
        InvalidReference: it is none.
    """
    if not has_registry(text):
        raise InvalidReference("must begin with a registry, such as registry.example/")
    reference = parse(text)
    if reference.digest:
        raise InvalidReference("must end with a tag, such as ':0.0.1', and not with a digest")
    return reference


def has_registry(text: str) -> bool:
    """Whether a reference names its registry (Docker's rule); without one it is an image of Docker Hub."""
    head, slash, _ = text.partition("/")
    return bool(slash) and ("." in head or ":" in head or head == "localhost")


def with_digest(text: str, digest: str) -> str:
    """Return the same repository, named by digest."""
    registry, slash, rest = text.rpartition("/")
    repository = re.split("[:@]", rest)[0]
    return f"{registry}{slash}{repository}@{digest}"


def _split(text: str) -> tuple[str, str]:
    if has_registry(text):
        registry, _, rest = text.partition("/")
        return registry, rest
    return DOCKER_HUB, text if "/" in text else f"library/{text}"
