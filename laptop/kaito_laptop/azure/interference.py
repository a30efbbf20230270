"""What a pool comes to, and where a test may step in; on a laptop nobody does, and every pool succeeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kaito_laptop.azure.answers import Answer, Request


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a pool."""

    state: str = "Succeeded"
    """Succeeded, Failed, Canceled, or a state in which it stays."""
    error: Mapping[str, Any] | None = None
    """`properties.status.provisioningError`."""
    operation: str = ""
    """How the operation says that it ended, when that is not the state of the pool."""
    has_node: bool = True
    gpus: int | None = None
    """Offered by the node; None for what the size has."""
    is_ready: bool = True
    seconds: float | None = None
    """Until then; None for the cluster's usual time."""


@dataclass(frozen=True, slots=True)
class Handled:
    """What goes back, if anything does."""

    answer: Answer | None
    """None for a dropped connection."""
    delay_seconds: float = 0


class Interference(Protocol):
    """Steps in between the request and AKS."""

    def refusal(self, verb: str, pool: str, request: Request, /) -> Answer | None:
        """Why ARM does not let a request through."""
        ...

    def carried_out(self, verb: str, carry_out: Callable[[], Answer], /) -> Handled:
        """Carry a request out, or not."""
        ...

    def outcome(self) -> Outcome:
        """What becomes of the pool that is made now."""
        ...


class NoInterference:
    """A cloud in good health."""

    def refusal(self, _verb: str, _pool: str, _request: Request, /) -> Answer | None:
        """Let everything through."""
        return None

    def carried_out(self, _verb: str, carry_out: Callable[[], Answer], /) -> Handled:
        """Answer what AKS says."""
        return Handled(carry_out())

    def outcome(self) -> Outcome:
        """Let every pool succeed."""
        return Outcome()
