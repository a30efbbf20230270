"""Nodes that users bring themselves, behind the Provider Protocol: nothing is ever made or asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NoReturn

from kaito_hooks.machine.errors import NoNodesMade
from kaito_hooks.machine.provider import (
    NEUTRAL,
    Absent,
    Availability,
    Listing,
    PoolRef,
    PoolRequest,
)


def create(environ: Mapping[str, str], now: Callable[[], datetime]) -> ByoProvider:  # noqa: ARG001  the table's
    """The provider; it has no settings."""
    return ByoProvider()


class ByoProvider:
    """Implements `kaito_hooks.machine.provider.Provider`."""

    profile = NEUTRAL

    def get(self, ref: PoolRef, fresh: bool) -> Absent:  # noqa: ARG002  the Protocol's
        """Nothing is made, so nothing is there."""
        return Absent()

    def list(self) -> Listing:
        """Likewise."""
        return Listing((), is_proven=True, is_of_nobody=True)

    def create(self, request: PoolRequest) -> NoReturn:  # noqa: ARG002  the Protocol's
        """Say what the owner can do."""
        raise NoNodesMade()

    def delete(self, ref: PoolRef, etag: str) -> None:
        """Nothing is there to delete."""

    def operation(self) -> str:
        """Nothing is waited for."""
        return ""

    def digest(self, request: PoolRequest) -> str:  # noqa: ARG002  the Protocol's
        """Nothing is sent."""
        return ""

    def availability(self, size: str, is_spot: bool) -> Availability:  # noqa: ARG002  the Protocol's
        """Which sizes there are is the user's to know; `create` says what to do."""
        return Availability()

    def unavailable_reason(self) -> str:
        """Nothing can be wrong with it."""
        return ""
