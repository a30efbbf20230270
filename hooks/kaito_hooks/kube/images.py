"""Image references, by the grammar of the distribution specification (github.com/distribution/reference)."""

from __future__ import annotations

import re

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
_TAG = r"[\w][\w.-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(
    rf"^(?P<domain>{_DOMAIN})/(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?$"
)


def is_reference(image: str) -> bool:
    """Whether the text names a registry, a lower-case repository, and a tag or a digest."""
    match = _REFERENCE.match(image)
    return bool(match and (match["tag"] or match["digest"]) and _is_registry(match["domain"]))


def problem(image: str) -> str:
    """What is wrong with a reference, in words; empty when nothing is."""
    if is_reference(image):
        return ""
    registry, slash, rest = image.partition("/")
    if not slash or not _is_registry(registry):
        return "it must begin with a registry, such as registry.example/"
    repository = re.split(r"[:@]", rest)[0]
    if repository != repository.lower():
        return f"the repository '{repository}' must be lower-case"
    if ":" not in rest and "@" not in rest:
        return "it must end with a tag, such as ':0.0.1'"
    return "it is no image reference, such as registry.example/team/adapter:0.0.1"


def with_digest(image: str, digest: str) -> str:
    """The same repository, named by digest."""
    registry, _, rest = image.partition("/")
    repository = re.split(r"[:@]", rest)[0]
    return f"{registry}/{repository}@{digest}"


def _is_registry(domain: str) -> bool:
    return "." in domain or ":" in domain or domain == "localhost"
