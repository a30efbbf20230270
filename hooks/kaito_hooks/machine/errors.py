"""What a provider may run into, as one family; each member says what the owner can do about it.

- ProviderError
    - Denied: there is no node, and why (`denied.py`)
    - Delayed: nothing is wrong, only not now
        - Throttled, Busy, Underway, AlreadyExists, EtagMismatch, DeletionFailed, NoNodesMade
    - Unclear: nothing is known, and "unknown" is never "absent"
        - Unreachable, Unanswered, Unreadable, Unauthorized, CredentialUnavailable, ConfigError,
          MadeElsewhere
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kaito_hooks.errors import HookError
from kaito_hooks.machine import reasons

MESSAGE_LIMIT = 800
"""Characters of the message in status, as Karpenter's fork for Kaito has it."""
LONGEST_RETRY_AFTER = 900
"""Seconds; whatever a server asks for, no Machine is left alone for longer on its word."""


class ProviderError(HookError):
    """What went wrong, with the reason that the status shows."""

    reason: ClassVar[str]
    remedy: ClassVar[str]
    """A sentence for the owner of the Workspace; `{size}` is the instance type."""
    speaker: ClassVar[str] = "Azure"
    """Whose words `detail` are."""
    wait_seconds: ClassVar[int] = 15
    """Until the next try, when the server names no time."""
    longest_wait_seconds: ClassVar[int] = 0
    """To which that grows when try after try ends so; 0 where it does not grow."""

    def __init__(
        self,
        code: str = "",
        detail: str = "",
        retry_after: int | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        super().__init__(f"{type(self).__name__} {code}".strip())
        self.code = code
        """The server's word for it."""
        self.detail = detail
        """The server's sentence, without tokens."""
        self.retry_after = retry_after
        """Seconds, if the server asked for some."""
        self.ids = ids
        """By which the server's support finds the request; for the log alone."""

    @property
    def wait(self) -> int:
        """Seconds until the next try."""
        if self.retry_after is None:
            return self.wait_seconds
        return min(max(self.retry_after, 1), LONGEST_RETRY_AFTER)

    def wait_after(self, tries: int) -> int:
        """Seconds until the next try when so many in a row have ended so; twice as long each time."""
        grown = self.wait_seconds << min(max(tries - 1, 0), 12)
        grown = min(grown, max(self.longest_wait_seconds, self.wait_seconds))
        return (
            grown if self.retry_after is None else max(self.wait, min(grown, LONGEST_RETRY_AFTER))
        )

    def what_to_do(self, size: str) -> str:
        """The remedy for a node of that size."""
        return self.remedy.replace("{size}", size or "this size")

    def message(self, size: str) -> str:
        """The remedy, then the server's own words."""
        remedy = self.what_to_do(size)
        text = f"{remedy} ({self.code})" if self.code else remedy
        if self.detail:
            text = f"{text} {self.speaker} says: {self.detail}"
        return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


class Delayed(ProviderError):
    """Nothing is wrong, only not now."""


class Throttled(Delayed):
    """Azure asks for fewer requests."""

    reason = reasons.THROTTLED
    wait_seconds = 30
    longest_wait_seconds = 300
    remedy = "Azure asks for fewer requests; it is tried again by itself."


class Busy(Delayed):
    """Another operation on the cluster or the pool is under way."""

    reason = reasons.AKS_BUSY
    wait_seconds = 30
    longest_wait_seconds = 300
    remedy = "The cluster is busy with another operation; it is tried again by itself."


class Underway(Delayed):
    """The very pool is already being created."""

    reason = reasons.CREATING
    remedy = "Azure is creating the node."


class AlreadyExists(Delayed):
    """A pool of that name appeared since it was looked for."""

    reason = reasons.ALREADY_EXISTS
    wait_seconds = 1
    remedy = "An agent pool of that name has just appeared; it is looked at again."


class EtagMismatch(Delayed):
    """The pool changed between reading and deleting it."""

    reason = reasons.ETAG_MISMATCH
    wait_seconds = 1
    remedy = "The agent pool changed while it was to be deleted; it is looked at again."


class DeletionFailed(Delayed):
    """A deletion was accepted, and the pool is not being deleted."""

    reason = reasons.DELETION_FAILED
    remedy = "Azure accepted to delete the node and does not; it is asked for again."


class NoNodesMade(Delayed):
    """This installation makes no nodes; that may change."""

    reason = reasons.NO_NODES_MADE
    wait_seconds = 600
    remedy = (
        "This installation makes no nodes. Label Ready {size} nodes of yours so that the "
        "Workspace's `resource.labelSelector` finds them; `resource.preferredNodes` says which "
        "of them to use first."
    )


class Unclear(ProviderError):
    """Nothing is known, and "unknown" is never "absent"."""


class Unreachable(Unclear):
    """No request was sent."""

    reason = reasons.UNREACHABLE
    remedy = "Azure can't be reached from the node provisioner; it is tried again by itself."


class Unanswered(Unclear):
    """A request was sent and nobody knows whether it was carried out."""

    reason = reasons.UNANSWERED
    remedy = "Azure gave no clear answer; the agent pool is looked at again."


class Unreadable(Unclear):
    """Something answered that does not speak like Azure."""

    reason = reasons.UNREADABLE
    remedy = "What answered is not Azure, perhaps a proxy; it is tried again by itself."


class Unauthorized(Unclear):
    """Azure does not accept the token."""

    reason = reasons.UNAUTHORIZED
    remedy = "Azure does not accept the node provisioner's token; check its workload identity."


class CredentialUnavailable(Unclear):
    """No token can be had."""

    reason = reasons.CREDENTIAL_UNAVAILABLE
    remedy = (
        "The node provisioner gets no token: check the federated credential and the service "
        "account of its workload identity."
    )


class ConfigError(Unclear):
    """Subscription, resource group or cluster do not exist."""

    reason = reasons.CONFIG_ERROR
    remedy = (
        "The cluster was not found in Azure: check ARM_SUBSCRIPTION_ID, ARM_RESOURCE_GROUP and "
        "AZURE_CLUSTER_NAME of the node provisioner."
    )


class MadeElsewhere(ConfigError):
    """The node was made before the provider was changed."""

    remedy = (
        "The node of this Machine was made while KAITO_NODE_PROVIDER of the node provisioner was "
        "another: set it back until the Machine is gone."
    )
