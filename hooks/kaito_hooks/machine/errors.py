"""What a provider may run into, as one family, in the words of no cloud; each says what can be done about it.

A provider raises these, or its own kinds of them with a remedy that names its settings, commands and pages.

- ProviderError
    - Terminal: the same request would be refused again
        - SkuNotAvailable, SpotRefused
    - Retryable: the same request may be granted later
        - of the Workspace or the settings: InvalidRequest, SettingRefused, ClusterOutdated
        - of the cloud: QuotaExceeded, InsufficientCapacity, SubnetFull, PoolLimit
        - of a person's will: Forbidden
        - after it was granted: PoolFailed; and with so many tries and no more: NoNode, SetupFailed
        - Delay: Throttled, Busy, Underway, AlreadyExists, EtagMismatch, DeletionFailed, NoNodesMade
    - Indeterminate: nothing is known, and "unknown" is never "absent"
        - Unreachable, Unanswered, Unreadable, Unauthorized, CredentialUnavailable, ConfigError,
          MadeElsewhere
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kaito_hooks.errors import HookError
from kaito_hooks.machine import reasons
from kaito_hooks.machine.timing import HOUR, LONGEST_BACKOFF, LONGEST_RETRY_AFTER

MESSAGE_LIMIT = 800
"""Characters of the message in status, as Karpenter's fork for Kaito has it."""


class ProviderError(HookError):
    """What went wrong, with the reason that the status shows."""

    reason: ClassVar[str]
    remedy: ClassVar[str]
    """A sentence for the owner of the Workspace; `{size}` is the instance type."""
    speaker: ClassVar[str] = "The provider"
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

    def message(self, size: str) -> str:
        """The remedy for a node of that size, then the server's own words."""
        remedy = self.remedy.replace("{size}", size or "this size")
        text = f"{remedy} ({self.code})" if self.code else remedy
        if self.detail:
            text = f"{text} {self.speaker} says: {self.detail}"
        return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


class Terminal(ProviderError):
    """The same request would be refused again."""

    wait_seconds = 600


class SkuNotAvailable(Terminal):
    """The size is not offered here."""

    reason = reasons.SKU_NOT_AVAILABLE
    remedy = "{size} is not available here: choose another `resource.instanceType`."


class SpotRefused(Terminal):
    """No such node is made on spot."""

    reason = reasons.SPOT_REFUSED
    remedy = (
        "No spot node of {size} is made here: set the Workspace's `resource.spot` to `prefer` or "
        "`never` and delete this Machine, which is then made again."
    )


class Retryable(ProviderError):
    """The same request may be granted later."""

    wait_seconds = 600
    longest_wait_seconds = HOUR


class InvalidRequest(Retryable):
    """The pool is not accepted as described."""

    reason = reasons.INVALID_REQUEST
    wait_seconds = HOUR
    longest_wait_seconds = LONGEST_BACKOFF
    remedy = (
        "The node is not accepted as described: what it names comes from the Workspace's "
        "`resource` or from the settings of the node provisioner."
    )


class SettingRefused(Retryable):
    """What a setting of the operator put into the request is not accepted."""

    reason = reasons.SETTING_REFUSED
    wait_seconds = HOUR
    longest_wait_seconds = LONGEST_BACKOFF
    remedy = (
        "{setting} of the node provisioner is not accepted: whoever runs it must change the "
        "setting; the node is asked for again as soon as that is done."
    )

    def __init__(
        self,
        code: str = "",
        detail: str = "",
        retry_after: int | None = None,
        ids: Sequence[str] = (),
        *,
        setting: str,
    ) -> None:
        super().__init__(code, detail, retry_after, ids)
        self.setting = setting
        """Name of the environment variable."""

    def message(self, size: str) -> str:
        """The remedy names the setting."""
        return super().message(size).replace("{setting}", self.setting)


class ClusterOutdated(Retryable):
    """No nodes are made of the cluster's Kubernetes version any more."""

    reason = reasons.CLUSTER_OUTDATED
    wait_seconds = HOUR
    longest_wait_seconds = LONGEST_BACKOFF
    remedy = "No nodes are made of this cluster's Kubernetes version any more: upgrade the cluster."


class QuotaExceeded(Retryable):
    """The quota is used up."""

    reason = reasons.QUOTA_EXCEEDED
    longest_wait_seconds = HOUR // 2
    remedy = (
        "The quota has no room for {size}: ask for more, or free nodes of that family; retrying."
    )


class QuotaIsZero(QuotaExceeded):
    """There is no quota at all for the family: a person must ask for some."""

    wait_seconds = HOUR
    longest_wait_seconds = HOUR


class InsufficientCapacity(Retryable):
    """No such virtual machine is free at the moment."""

    reason = reasons.INSUFFICIENT_CAPACITY
    wait_seconds = HOUR
    remedy = (
        "No {size} is free here at the moment: retrying every hour; another "
        "`resource.instanceType` or region may be available at once."
    )


class SubnetFull(Retryable):
    """The subnet has no addresses left."""

    reason = reasons.SUBNET_FULL
    remedy = "The cluster's subnet has no addresses left for a node: enlarge it or free some."


class PoolLimit(Retryable):
    """The cluster has as many pools as it may have."""

    reason = reasons.POOL_LIMIT
    remedy = "The cluster has as many pools as it may have: delete Workspaces that are done."


class Forbidden(Retryable):
    """The identity of the hook lacks a right."""

    reason = reasons.FORBIDDEN
    wait_seconds = 300
    remedy = "The node provisioner may not do this: give its identity the right to make and delete nodes."


class PoolFailed(Retryable):
    """The pool ended as failed without a reason that we know."""

    reason = reasons.POOL_FAILED
    remedy = "The node was not created; what is left of it is deleted, then retrying."


class NoNode(Retryable):
    """The pool is there, its virtual machine never joined the cluster."""

    reason = reasons.NODE_NOT_FOUND
    remedy = (
        "The virtual machine did not join the cluster within 15 minutes, and is deleted: check "
        "that it can reach the API server."
    )


class SetupFailed(Retryable):
    """The virtual machine started, and its set-up ended badly."""

    reason = reasons.SETUP_FAILED
    remedy = "The virtual machine could not be set up as a node, and is deleted."


class Delay(Retryable):
    """Nothing is wrong, only not now: no try is counted, and what failed before is still the reason."""

    wait_seconds = 15
    longest_wait_seconds = 0


class NoNodesMade(Delay):
    """This installation makes no nodes; that may change."""

    reason = reasons.NO_NODES_MADE
    wait_seconds = 600
    remedy = (
        "This installation makes no nodes. Label Ready {size} nodes of yours so that the "
        "Workspace's `resource.labelSelector` finds them; `resource.preferredNodes` says which "
        "of them to use first."
    )


class Throttled(Delay):
    """Fewer requests are asked for."""

    reason = reasons.THROTTLED
    wait_seconds = 30
    longest_wait_seconds = 300
    remedy = "The provider asks for fewer requests; retrying."


class Busy(Delay):
    """Another operation on the cluster or the pool is under way."""

    reason = reasons.BUSY
    wait_seconds = 30
    longest_wait_seconds = 300
    remedy = "The cluster is busy with another operation; retrying."


class Underway(Delay):
    """The very pool is already being created."""

    reason = reasons.CREATING
    remedy = "The node is being created."


class AlreadyExists(Delay):
    """A pool of that name appeared since it was looked for."""

    reason = reasons.ALREADY_EXISTS
    wait_seconds = 1
    remedy = "A pool of that name has just appeared; it is read again."


class EtagMismatch(Delay):
    """The pool changed between reading and deleting it."""

    reason = reasons.ETAG_MISMATCH
    wait_seconds = 1
    remedy = "The pool changed while it was to be deleted; it is read again."


class DeletionFailed(Delay):
    """A deletion was accepted, and the pool is not being deleted."""

    reason = reasons.DELETION_FAILED
    remedy = "The deletion of the node was accepted and has not begun; retrying."


class Indeterminate(ProviderError):
    """Nothing is known, and "unknown" is never "absent"."""


class Unreachable(Indeterminate):
    """No request was sent."""

    reason = reasons.UNREACHABLE
    remedy = "The node provisioner does not reach the provider; retrying."


class Unanswered(Indeterminate):
    """A request was sent and nobody knows whether it was carried out."""

    reason = reasons.UNANSWERED
    remedy = "The provider gave no clear answer; the pool is read again."


class Unreadable(Indeterminate):
    """Something answered that does not speak like the provider."""

    reason = reasons.UNREADABLE
    remedy = "The answer did not come from the provider, perhaps from a proxy; retrying."


class Unauthorized(Indeterminate):
    """The token is not accepted."""

    reason = reasons.UNAUTHORIZED
    remedy = "The provider does not accept the node provisioner's token."


class CredentialUnavailable(Indeterminate):
    """There is no token."""

    reason = reasons.CREDENTIAL_UNAVAILABLE
    remedy = "The node provisioner gets no token."


class ConfigError(Indeterminate):
    """What the settings name does not exist."""

    reason = reasons.CONFIG_ERROR
    remedy = "The cluster was not found: check the settings of the node provisioner."


class MadeElsewhere(ConfigError):
    """The node was made before the provider was changed."""

    remedy = (
        "The node of this Machine was made while KAITO_NODE_PROVIDER of the node provisioner was "
        "another: set it back until the Machine is gone."
    )
