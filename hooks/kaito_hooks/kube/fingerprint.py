"""Short fingerprints of JSON values: equal values give equal fingerprints, whatever the order of keys."""

from __future__ import annotations

import hashlib
import json


def fingerprint(value: object, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of the value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
