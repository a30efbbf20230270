"""Reading the answer of a hook."""

from __future__ import annotations

from typing import Any


def ready(answer: dict[str, Any]) -> tuple[str, str, str]:
    """(status, reason, message) of the condition that people read."""
    return of(answer, "Ready")


def of(answer: dict[str, Any], type_: str) -> tuple[str, str, str]:
    for item in answer["status"]["conditions"]:
        if item["type"] == type_:
            return item["status"], item["reason"], item["message"]
    raise AssertionError(f"no condition {type_}")


def kinds(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(child["kind"], child["metadata"]["name"]) for child in answer["children"]]


def child(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    """The only child of that kind, or the one whose name is the shortest."""
    found = [item for item in answer["children"] if item["kind"] == kind]
    assert found, f"no {kind} in {kinds(answer)}"
    return min(found, key=lambda item: len(item["metadata"]["name"]))
