"""URLs of training data: which part of one names the data, and what people may read of it."""

from __future__ import annotations

from dataclasses import dataclass

from kaito_hooks.kube.fingerprint import fingerprint

_SIGNED_BY = ("x-amz-", "x-goog-", "x-ms-")
_TOKENS = frozenset(
    {"token", "access_token", "auth_token", "api_key", "apikey", "sig", "signature"}
)
_BESIDE_A_SIGNATURE = frozenset(
    (
        *("se", "sp", "sv", "st", "sr", "spr", "sip", "ss", "srt", "sdd", "si", "scid"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"),
        *("expires", "key-pair-id", "policy", "awsaccesskeyid", "googleaccessid"),
    )
)
"""Parameters of signed URLs: what the signature is for, and until when."""


def without_credentials(url: str) -> str:
    """The URL without user, password and the parameters of a signature: a new signature is not new data."""
    parts = _split(url)
    return parts.place + (f"?{'&'.join(parts.query)}" if parts.query else "")


def shown(url: str) -> str:
    """The URL for people: what it asks with is a fingerprint, as nobody knows which parameter is a password."""
    parts = _split(url)
    return parts.place + (f"?({fingerprint(list(parts.query), 8)})" if parts.query else "")


@dataclass(frozen=True, slots=True)
class _Parts:
    """A URL without credentials and without its fragment, which no server sees."""

    place: str
    query: tuple[str, ...]


def _split(url: str) -> _Parts:
    place, _, query = url.partition("#")[0].partition("?")
    scheme, separator, rest = place.partition("://")
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    parameters = [each for each in query.split("&") if each]
    names = {_name(each) for each in parameters}
    is_signed = bool(names & {"sig", "signature"})
    kept = tuple(each for each in parameters if not _opens(_name(each), is_signed))
    return _Parts(f"{scheme}{separator}{host}{slash}{path}", kept)


def _name(parameter: str) -> str:
    return parameter.partition("=")[0].lower()


def _opens(key: str, is_signed: bool) -> bool:
    return (
        key in _TOKENS or key.startswith(_SIGNED_BY) or (is_signed and key in _BESIDE_A_SIGNATURE)
    )
