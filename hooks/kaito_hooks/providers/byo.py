"""Nodes that users bring themselves, behind the Provider Protocol: nothing is ever made or asked for."""

from __future__ import annotations

from typing import NoReturn

from kaito_hooks.machine.errors import NoNodesMade
from kaito_hooks.machine.provider import Absent, Listing, PoolRef, PoolRequest, Unknown


class ByoProvider:
    """Implements `kaito_hooks.machine.provider.Provider`."""

    def get(self, ref: PoolRef, fresh: bool) -> Absent:
        """Nothing is made, so nothing is there."""
        return Absent()

    def list(self) -> Listing:
        """Likewise."""
        return Listing((), is_proven=True, is_of_nobody=True)

    def create(self, request: PoolRequest) -> NoReturn:
        """Say what the owner can do."""
        raise NoNodesMade()

    def delete(self, ref: PoolRef, etag: str) -> None:
        """Nothing is there to delete."""

    def operation(self) -> str:
        """Nothing is waited for."""
        return ""

    def digest(self, request: PoolRequest) -> str:
        """Nothing is sent."""
        return ""

    def sizes(self) -> Unknown:
        """Which sizes there are is the user's to know."""
        return Unknown(NoNodesMade())

    def quotas(self) -> Unknown:
        """Likewise."""
        return Unknown(NoNodesMade())

    def trouble(self) -> str:
        """Nothing can be wrong with it."""
        return ""
