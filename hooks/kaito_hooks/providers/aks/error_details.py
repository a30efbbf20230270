"""The causes that an answer of AKS names: in its own fields, and quoted inside its sentences.

The outermost code often says only that a pool could not be made. What made it fail stands in `details`, or in
the message itself, as AKS has written it since 2020 (Azure/AKS#1918, hashicorp/terraform-provider-azurerm#9342,
MicrosoftDocs/azure-docs#62378): as Go prints an error, as `SubCode: X`, or as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from kaito_hooks.kube.objects import mapping, sequence, text

Cause = tuple[str, str]
"""Code and message."""

_DEPTH = 8
_LONGEST = 16_000
"""Characters of one message that are read: set-up errors quote whole logs."""
_CODE = r"[A-Za-z][A-Za-z0-9_.]{2,63}"
_GO = re.compile(
    rf"""Code=\\*["'](?P<code>{_CODE})\\*["']"""
    r"""(?:\s+Message=\\*["'](?P<message>[^\x00]*?)\\*["'](?=\s+[A-Z][A-Za-z]+=|\s*$))?"""
)
"""As in `Code="AllocationFailed" Message="Allocation failed." Target="243"`."""
_LABELLED = re.compile(rf'\b(?:Sub|Error)?Code:\s*"?(?P<code>{_CODE})', re.IGNORECASE)
"""As in `Category: ClientError; SubCode: LinkedAuthorizationFailed;`, and at the end of a line as `(Code: X)`."""
_PAIR = re.compile(
    rf"""\\*"code\\*"\s*:\s*\\*"(?P<code>{_CODE})\\*"(?:\s*,\s*\\*"message\\*"\s*:\s*\\*"(?P<message>[^"\\]*))?""",
    re.IGNORECASE,
)
"""JSON that was cut off, or escaped more than once."""

_LINK = re.compile(
    r"https?://(?P<place>aka\.ms|(?:learn|docs)\.microsoft\.com)/(?P<path>[\w./~-]*[\w~-])(?:[?#]\S*)?"
)
"""Azure's own pages on an error; a query is not kept."""
_REDACTED = re.compile(
    r"https?://\S+"  # may carry a token, and says nothing to the owner
    r"|\beyJ[\w.-]{8,}"  # JSON web token
    r"|(?i:bearer)\s+\S+"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"  # another one in each answer
)
_ID = re.compile(
    r"(?:Correlation|Operation|Tracking|Activity|Request) ?ID(?: is)?:? *'?"
    r"(?P<id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})",
    re.IGNORECASE,
)


def causes_in(error: object, depth: int = 0) -> Iterator[Cause]:
    """Codes and messages of an ARM error wherever they stand, what wraps another one first."""
    found = mapping(error)
    code, message = text(found.get("code")), text(found.get("message"))
    if code or message:
        yield code, redact(message)
    if depth >= _DEPTH:
        return
    yield from _quoted(message[:_LONGEST], depth)
    for detail in sequence(found.get("details")):
        yield from causes_in(detail, depth + 1)
    if found.get("innererror"):
        yield from causes_in(found["innererror"], depth + 1)


def redact(message: str) -> str:
    """One line without tokens, addresses but Azure's own pages, and numbers that differ from answer to answer."""
    pages: list[str] = []

    def keep(match: re.Match[str]) -> str:
        pages.append(f"https://{match['place']}/{match['path']}")
        return f"\x00{len(pages) - 1}\x00"

    shown = _REDACTED.sub("…", _LINK.sub(keep, message[:4000].replace("\x00", "")))
    shown = re.sub("\x00(\\d+)\x00", lambda match: pages[int(match[1])], shown)
    return " ".join(shown.split())


def ids_in(message: str) -> list[str]:
    """By which Azure's support finds the request: for the log, since they differ from answer to answer."""
    return list(dict.fromkeys(match["id"] for match in _ID.finditer(message[:_LONGEST])))


def _quoted(message: str, depth: int) -> Iterator[Cause]:
    """What a sentence quotes, in the order in which it stands there."""
    found: list[tuple[int, Iterator[Cause]]] = []
    at = 0
    while (at := message.find("{", at)) >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(message, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        inner = mapping(value)
        found.append((at, causes_in(inner.get("error") or inner, depth + 1)))
        at = end
    for form in (_GO, _LABELLED, _PAIR):
        for match in form.finditer(message):
            found.append((match.start(), _in_sentence(match, message, depth)))
    for _, causes in sorted(found, key=lambda item: item[0]):
        yield from causes


def _in_sentence(match: re.Match[str], message: str, depth: int) -> Iterator[Cause]:
    quoted = match.groupdict().get("message")
    yield match["code"], redact(message if quoted is None else quoted)
    if quoted and depth < _DEPTH:
        yield from _quoted(quoted, depth + 1)
