"""Why there is no node, as far as the provider says; each member says who can do what about it.

- Denied
    - Refused: the same request would be refused again
        - SkuNotAvailable, SpotRefused
    - Deferred: the same request may be granted later
        - of the Workspace or the settings: InvalidRequest, SettingRefused, ClusterOutdated
        - of Azure: QuotaExceeded, InsufficientCapacity, SubnetFull, PoolLimit
        - of a person's will: Forbidden with PolicyForbids, Locked, SubscriptionDisabled
        - after it was granted: PoolFailed; and with so many tries and no more: NoNode, SetupFailed
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from kaito_hooks.machine import reasons
from kaito_hooks.machine.errors import ProviderError

HOUR = 3600
SLOWEST = 6 * HOUR
"""What only a person can mend is asked for again all the same, since nobody tells us that it is mended."""


class Denied(ProviderError):
    """There is no node."""

    most_tries: ClassVar[int] = 0
    """In a row; each has cost a node. 0 for no bound."""


class Refused(Denied):
    """The same request would be refused again."""

    wait_seconds = 600


class SkuNotAvailable(Refused):
    """The size is not offered to the subscription in this region."""

    reason = reasons.SKU_NOT_AVAILABLE
    remedy = (
        "{size} can't be had in this subscription and region: choose another "
        "`resource.instanceType`, or ask Azure's support for access to the size."
    )


class SpotRefused(Refused):
    """Azure makes no such node on spot."""

    reason = reasons.SPOT_REFUSED
    remedy = (
        "Azure makes no spot node of {size} here: set the Workspace's `resource.spot` to `prefer` or "
        "`never` and delete this Machine, which is then made again."
    )


class Deferred(Denied):
    """The same request may be granted later."""

    wait_seconds = 600
    longest_wait_seconds = HOUR


class InvalidRequest(Deferred):
    """Azure refuses the pool as described."""

    reason = reasons.INVALID_REQUEST
    wait_seconds = HOUR
    longest_wait_seconds = SLOWEST
    remedy = (
        "Azure does not accept the node as described: what it names comes from the Workspace's "
        "`resource` or from the settings of the node provisioner."
    )


class SettingRefused(Deferred):
    """Azure refuses what a setting of the operator put into the request."""

    reason = reasons.SETTING_REFUSED
    wait_seconds = HOUR
    longest_wait_seconds = SLOWEST
    remedy = (
        "Azure does not accept {setting} of the node provisioner: whoever runs it must change the "
        "setting; the node is asked for again as soon as that is done."
    )

    def __init__(
        self,
        setting: str,
        code: str = "",
        detail: str = "",
        retry_after: int | None = None,
        ids: Sequence[str] = (),
    ) -> None:
        super().__init__(code, detail, retry_after, ids)
        self.setting = setting
        """Name of the environment variable."""

    def what_to_do(self, size: str) -> str:
        """Names the setting."""
        return self.remedy.replace("{setting}", self.setting)


class ClusterOutdated(Deferred):
    """AKS makes no nodes of the cluster's Kubernetes version any more."""

    reason = reasons.CLUSTER_OUTDATED
    wait_seconds = HOUR
    longest_wait_seconds = SLOWEST
    remedy = (
        "AKS makes no nodes of this cluster's Kubernetes version any more: upgrade the cluster "
        "(`az aks get-upgrades`, `az aks upgrade`)."
    )


class QuotaExceeded(Deferred):
    """The subscription's vCPU quota is used up."""

    reason = reasons.QUOTA_EXCEEDED
    longest_wait_seconds = HOUR // 2
    remedy = (
        "The subscription has too little vCPU quota for {size}: ask for more under Quotas in the "
        "Azure portal, or free nodes of that family; it is tried again by itself."
    )


class QuotaIsZero(QuotaExceeded):
    """The subscription has no quota at all for the family: a person must ask for some."""

    wait_seconds = HOUR
    longest_wait_seconds = HOUR


class InsufficientCapacity(Deferred):
    """Azure has no such virtual machine free at the moment."""

    reason = reasons.INSUFFICIENT_CAPACITY
    wait_seconds = HOUR
    remedy = (
        "Azure has no {size} free in this region at the moment: it is tried again every hour; "
        "another `resource.instanceType` or region may be had at once."
    )


class SkuShortage(InsufficientCapacity):
    """Azure has taken the size out of sale here for want of machines, which lasts longer."""

    wait_seconds = 2 * HOUR
    longest_wait_seconds = SLOWEST
    remedy = (
        "Azure sells no {size} in this region at the moment: it is tried again every few hours; "
        "another `resource.instanceType` or region may be had at once."
    )


class SpotShortage(InsufficientCapacity):
    """Azure has no such virtual machine on spot at the moment, which changes by the hour."""

    remedy = (
        "Azure has no spot node of {size} in this region at the moment: it is tried again every hour. "
        "For a regular node, set the Workspace's `resource.spot` to `prefer` and delete this Machine, "
        "which is then made again."
    )


class SubnetFull(Deferred):
    """The subnet has no addresses left."""

    reason = reasons.SUBNET_FULL
    remedy = "The cluster's subnet has no addresses left for a node: enlarge it or free some."


class PoolLimit(Deferred):
    """The cluster has as many pools as it may have."""

    reason = reasons.POOL_LIMIT
    remedy = "The cluster has as many agent pools as AKS allows: delete Workspaces that are done."


class Forbidden(Deferred):
    """The identity of the hook lacks a right."""

    reason = reasons.FORBIDDEN
    wait_seconds = 300
    remedy = (
        "The node provisioner may not do this: give its identity rights on the cluster's agent "
        "pools, and to join the subnet if one is set."
    )


class PolicyForbids(Forbidden):
    """An Azure policy refuses the pool."""

    remedy = (
        "An Azure policy refuses the node: have the policy that is named here exempt the cluster's "
        "agent pools, or change what it asks for."
    )


class Locked(Forbidden):
    """A lock on the resource group or on what holds it."""

    remedy = (
        "A lock on the cluster or one of its resource groups forbids this: its owner must take it "
        "away."
    )


class SubscriptionDisabled(Forbidden):
    """The subscription can only be read."""

    remedy = (
        "The subscription is disabled and can only be read: its owner must enable it again; until "
        "then no node is made or deleted."
    )


class PoolFailed(Deferred):
    """The pool ended as failed without a reason that we know."""

    reason = reasons.POOL_FAILED
    remedy = "Azure failed to create the node; it is deleted and tried again by itself."


class NoNode(Deferred):
    """The pool is there, its virtual machine never joined the cluster."""

    reason = reasons.NODE_NOT_FOUND
    most_tries = 3
    remedy = (
        "The virtual machine did not join the cluster within 15 minutes, and is deleted. Look at "
        "the subnet's outbound rules: https://aka.ms/aks-required-ports-and-addresses"
    )


class SetupFailed(Deferred):
    """The virtual machine started, and its set-up ended badly."""

    reason = reasons.SETUP_FAILED
    most_tries = 3
    remedy = "The virtual machine could not be set up as a node, and is deleted."


class NoOutbound(SetupFailed):
    """It reaches nothing, or not the API server."""

    remedy = (
        "The virtual machine can't reach what it needs to become a node, and is deleted: whoever "
        "runs the cluster must open the subnet's outbound rules or mend its DNS: "
        "https://aka.ms/aks-required-ports-and-addresses"
    )


class NoDriver(SetupFailed):
    """The driver of its GPUs did not install or start."""

    remedy = (
        "The driver of the GPU did not install on the virtual machine, which is deleted: choose "
        "another `resource.instanceType`, or bring the driver with a GPU operator and "
        "KAITO_POOL_GPU_DRIVER=None."
    )
