"""What came back from ARM, before any library made something of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime

from kaito_hooks.kube.objects import mapping, text
from kaito_hooks.providers.aks.error_details import Cause, causes_in, ids_in

_ID_HEADERS = ("x-ms-correlation-request-id", "x-ms-request-id")


@dataclass(frozen=True, slots=True)
class Response:
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

    def causes(self) -> Iterator[Cause]:
        """Code and message, outermost first; AKS itself answers flat, ARM's front door wrapped in `error`."""
        found = self.json
        yield from causes_in(found.get("error") or found)

    def ids(self) -> Sequence[str]:
        """By which Azure's support finds the request: in the headers, and in the sentence."""
        named = [self.headers.get(name, "") for name in _ID_HEADERS]
        found = mapping(self.json.get("error")) or self.json
        return [*filter(None, named), *ids_in(text(found.get("message")))][:4]

    def retry_after(self, now: datetime) -> int | None:
        """Seconds that the server asks for, given as a number or as a date."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdecimal():
            return min(int(value[:9]), 86_400)
        try:
            return max(int((parsedate_to_datetime(value) - now).total_seconds()), 0)
        except (ValueError, TypeError, OverflowError):
            return None
