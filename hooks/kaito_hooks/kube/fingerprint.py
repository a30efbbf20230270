"""Short fingerprints of JSON values: equal values give equal fingerprints, whatever the order of keys."""

from __future__ import annotations

import hashlib

import orjson


def fingerprint(value: object, digits: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of the value's canonical JSON."""
    canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:digits]
