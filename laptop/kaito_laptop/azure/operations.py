"""Long-running operations: what `Azure-AsyncOperation` points to, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_laptop.azure.answers import Answer, ok, refused

POLL_SECONDS = 10
"""`Retry-After` of an operation under way."""


@dataclass(slots=True)
class Operation:
    """One accepted PUT or DELETE."""

    name: str
    status: str = "InProgress"
    error: Mapping[str, Any] | None = None

    def end(self, status: str, why: Mapping[str, Any] | None = None) -> None:
        """Succeeded, Failed or Canceled."""
        if self.status == "InProgress":
            self.status, self.error = status, why


class Operations:
    """Every operation of the cluster; a pool is changed by at most one at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._by_name: dict[str, Operation] = {}
        self.of_pool: dict[str, Operation] = {}
        """The latest operation of each pool."""

    def begin(self, pool: str) -> Operation:
        """Start the next operation of a pool; one under way is preempted.

        The words are those of MicrosoftDocs/SupportArticles-docs, aksoperationpreempted-error.md.
        """
        before = self.of_pool.get(pool)
        operation = Operation(f"00000000-0000-0000-0000-{len(self._by_name) + 1:012d}")
        if before is not None:
            code = "AKSOperationPreemptedByDelete"
            said = "This operation has been preempted by Deleting operation."
            before.end("Canceled", {"code": code, "message": said})
        self._by_name[operation.name] = self.of_pool[pool] = operation
        return operation

    def headers(self, operation: Operation, base_url: str) -> dict[str, str]:
        """Where the client may follow it."""
        return {
            "Azure-AsyncOperation": f"{base_url}{self._path}/{operation.name}?api-version=2026-08-01",
            "Retry-After": str(POLL_SECONDS),
        }

    def get(self, name: str) -> Answer:
        """GET of an operation."""
        operation = self._by_name.get(name)
        if operation is None:
            return refused(404, "NotFound", f"The operation {name} is not found.")
        body: dict[str, Any] = {"name": operation.name, "status": operation.status}
        if operation.error is not None:
            body["error"] = operation.error.get("error") or operation.error
        wait = {"Retry_After": str(POLL_SECONDS)} if operation.status == "InProgress" else {}
        return ok(200, body, **wait)
