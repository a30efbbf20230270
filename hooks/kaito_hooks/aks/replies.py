"""What came back from ARM, before any library made something of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

from kaito_hooks.kube.objects import mapping, sequence, text

_TELLTALE = re.compile(
    r"https?://\S+"  # may carry a token, and says nothing to the owner
    r"|\beyJ[\w.-]{8,}"  # JSON web token
    r"|(?i:bearer)\s+\S+"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"  # another one in each answer
)
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """With lower-case names."""
    body: bytes = field(default=b"", repr=False)

    @property
    def is_success(self) -> bool:
        """Any 2xx: the library's own lists are shorter than AKS' habits."""
        return 200 <= self.status < 300

    @property
    def json(self) -> Mapping[str, object]:
        """The object in the body; empty when there is none."""
        try:
            return mapping(json.loads(self.body))
        except (ValueError, RecursionError):
            return {}

    def faults(self) -> Iterator[tuple[str, str]]:
        """Code and message, outermost first; some answers of AKS are not wrapped in `error`."""
        found = self.json
        yield from faults_in(found.get("error") or found)

    def retry_after(self, now: datetime) -> int | None:
        """Seconds that the server asks for, given as a number or as a date."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdecimal():
            return min(int(value[:9]), 86_400)
        try:
            return max(int((parsedate_to_datetime(value) - now).total_seconds()), 0)
        except (ValueError, TypeError, OverflowError):
            return None


def faults_in(error: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Codes and messages of an ARM error, wherever they are nested."""
    found = mapping(error)
    code, message = text(found.get("code")), scrub(text(found.get("message")))
    if code or message:
        yield code, message
    if depth < _DEPTH:
        for detail in sequence(found.get("details")):
            yield from faults_in(detail, depth + 1)
        if found.get("innererror"):
            yield from faults_in(found["innererror"], depth + 1)


def scrub(said: str) -> str:
    """One line without tokens, URLs and numbers that differ from answer to answer."""
    return " ".join(_TELLTALE.sub("…", said[:4000]).split())
