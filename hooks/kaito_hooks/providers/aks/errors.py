"""What AKS may run into: the kinds of machine/errors.py with what Azure's owner can do, and Azure's own causes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kaito_hooks.machine import errors
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.timing import HOUR, LONGEST_BACKOFF

REQUIRED_PORTS = "https://aka.ms/aks-required-ports-and-addresses"


class OfAzure:
    """The sentence in `detail` is Azure's."""

    speaker: ClassVar[str] = "Azure"


class SkuNotAvailable(OfAzure, errors.SkuNotAvailable):
    """The size is not offered to the subscription in this region."""

    remedy = (
        "{size} is not available in this subscription and region: choose another "
        "`resource.instanceType`, or ask Azure's support for access to the size."
    )


class SpotRefused(OfAzure, errors.SpotRefused):
    """Azure makes no such node on spot."""

    remedy = (
        "Azure makes no spot node of {size} here: set the Workspace's `resource.spot` to `prefer` or "
        "`never` and delete this Machine, which is then made again."
    )


class InvalidRequest(OfAzure, errors.InvalidRequest):
    """Azure refuses the pool as described."""

    remedy = (
        "Azure does not accept the node as described: what it names comes from the Workspace's "
        "`resource` or from the settings of the node provisioner."
    )


class SettingRefused(OfAzure, errors.SettingRefused):
    """Azure refuses what a setting of the operator put into the request."""

    remedy = (
        "Azure does not accept {setting} of the node provisioner: whoever runs it must change the "
        "setting; the node is asked for again as soon as that is done."
    )


class ClusterOutdated(OfAzure, errors.ClusterOutdated):
    """AKS makes no nodes of the cluster's Kubernetes version any more."""

    remedy = (
        "AKS makes no nodes of this cluster's Kubernetes version any more: upgrade the cluster "
        "(`az aks get-upgrades`, `az aks upgrade`)."
    )


class QuotaExceeded(OfAzure, errors.QuotaExceeded):
    """The subscription's vCPU quota is used up."""

    remedy = (
        "The subscription has too little vCPU quota for {size}: ask for more under Quotas in the "
        "Azure portal, or free nodes of that family; retrying."
    )


class QuotaIsZero(QuotaExceeded, errors.QuotaIsZero):
    """The subscription has no quota at all for the family: a person must ask for some."""


class InsufficientCapacity(OfAzure, errors.InsufficientCapacity):
    """Azure has no such virtual machine free at the moment."""

    remedy = (
        "Azure has no {size} free in this region at the moment: retrying every hour; "
        "another `resource.instanceType` or region may be available at once."
    )


class SkuShortage(InsufficientCapacity):
    """Azure has taken the size out of sale here for want of machines, which lasts longer."""

    wait_seconds = 2 * HOUR
    longest_wait_seconds = LONGEST_BACKOFF
    remedy = (
        "Azure sells no {size} in this region at the moment: retrying every few hours; "
        "another `resource.instanceType` or region may be available at once."
    )


class SpotShortage(InsufficientCapacity):
    """Azure has no such virtual machine on spot at the moment, which changes by the hour."""

    remedy = (
        "Azure has no spot node of {size} in this region at the moment: retrying every hour. "
        "For a regular node, set the Workspace's `resource.spot` to `prefer` and delete this Machine, "
        "which is then made again."
    )


class SubnetFull(OfAzure, errors.SubnetFull):
    """The subnet has no addresses left."""


class PoolLimit(OfAzure, errors.PoolLimit):
    """The cluster has as many pools as it may have."""

    remedy = "The cluster has as many agent pools as AKS allows: delete Workspaces that are done."


class Forbidden(OfAzure, errors.Forbidden):
    """The identity of the hook lacks a right."""

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

    remedy = "A lock on the cluster or one of its resource groups forbids this: its owner must remove it."


class SubscriptionDisabled(Forbidden):
    """The subscription can only be read."""

    remedy = (
        "The subscription is disabled and can only be read: its owner must enable it again; until "
        "then no node is made or deleted."
    )


class PoolFailed(OfAzure, errors.PoolFailed):
    """The pool ended as failed without a reason that we know."""

    remedy = "Azure failed to create the node; it is deleted, then retrying."


class NoNode(OfAzure, errors.NoNode):
    """The pool is there, its virtual machine never joined the cluster."""

    remedy = (
        "The virtual machine did not join the cluster within 15 minutes, and is deleted. Look at "
        f"the subnet's outbound rules: {REQUIRED_PORTS}"
    )


class SetupFailed(OfAzure, errors.SetupFailed):
    """The virtual machine started, and its set-up ended badly."""


class NoOutbound(SetupFailed):
    """It reaches nothing, or not the API server."""

    remedy = (
        "The virtual machine can't reach what it needs to become a node, and is deleted: whoever "
        f"runs the cluster must open the subnet's outbound rules or repair its DNS: {REQUIRED_PORTS}"
    )


class NoDriver(SetupFailed):
    """The driver of its GPUs did not install or start."""

    remedy = (
        "The driver of the GPU did not install on the virtual machine, which is deleted: choose "
        "another `resource.instanceType`, or bring the driver with a GPU operator and "
        "KAITO_POOL_GPU_DRIVER=None."
    )


class Throttled(OfAzure, errors.Throttled):
    """Azure asks for fewer requests."""

    remedy = "Azure asks for fewer requests; retrying."


class Busy(OfAzure, errors.Busy):
    """Another operation on the cluster or the pool is under way."""


class Underway(OfAzure, errors.Underway):
    """The very pool is already being created."""

    remedy = "Azure is creating the node."


class AlreadyExists(OfAzure, errors.AlreadyExists):
    """A pool of that name appeared since it was looked for."""

    remedy = "An agent pool of that name has just appeared; it is read again."


class EtagMismatch(OfAzure, errors.EtagMismatch):
    """The pool changed between reading and deleting it."""

    remedy = "The agent pool changed while it was to be deleted; it is read again."


class DeletionFailed(OfAzure, errors.DeletionFailed):
    """A deletion was accepted, and the pool is not being deleted."""

    remedy = "Azure accepted to delete the node and has not begun; retrying."


class Unreachable(OfAzure, errors.Unreachable):
    """No request was sent."""

    remedy = "The node provisioner does not reach Azure; retrying."


class Unanswered(OfAzure, errors.Unanswered):
    """A request was sent and nobody knows whether it was carried out."""

    remedy = "Azure gave no clear answer; the agent pool is read again."


class Unreadable(OfAzure, errors.Unreadable):
    """Something answered that does not speak like Azure."""

    remedy = "The answer did not come from Azure, perhaps from a proxy; retrying."


class Unauthorized(OfAzure, errors.Unauthorized):
    """Azure does not accept the token."""

    remedy = "Azure does not accept the node provisioner's token; check its workload identity."


class CredentialUnavailable(OfAzure, errors.CredentialUnavailable):
    """There is no token."""

    remedy = (
        "The node provisioner gets no token: check the federated credential and the service "
        "account of its workload identity."
    )


class ConfigError(OfAzure, errors.ConfigError):
    """Subscription, resource group or cluster do not exist."""

    remedy = (
        "The cluster was not found in Azure: check ARM_SUBSCRIPTION_ID, ARM_RESOURCE_GROUP and "
        "AZURE_CLUSTER_NAME of the node provisioner."
    )


FOUND_OUT: Mapping[type[ProviderError], type[ProviderError]] = {
    errors.PoolFailed: PoolFailed,
    errors.NoNode: NoNode,
    errors.Busy: Busy,
    errors.EtagMismatch: EtagMismatch,
    errors.DeletionFailed: DeletionFailed,
    errors.Unreadable: Unreadable,
}
"""Ours, for what the decisions find out themselves."""
