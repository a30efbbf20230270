"""Answers as ARM's gateway and AKS behind it write them: the one wraps a failure, the other does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """With lower-case names."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def ok(status: int, body: Mapping[str, Any] | None = None, **headers: str) -> Answer:
    """A success; keywords are headers with underscores for dashes."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    if body is None:
        return Answer(status, b"", named)
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """A failure in the shape of ARM's gateway, which wraps it."""
    return ok(status, {"error": {"code": code, "message": message}}, **headers)


def refused(
    status: int, code: str, message: str, *, target: str = "", subcode: str = "", **headers: str
) -> Answer:
    """A failure in AKS' own shape, which is flat (hashicorp/terraform-provider-azurerm#31129)."""
    return ok(status, _flat(code, message, target, subcode), **headers)


def _flat(code: str, message: str, target: str = "", subcode: str = "") -> dict[str, Any]:
    body = {"code": code, "details": None, "message": message, "subcode": subcode}
    return {**body, "target": target} if target else body
