"""Reasons of a Machine's conditions; programs compare them, so each has one meaning.

The table of docs/operations.md is made of the records here; some reasons are Karpenter's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from kaito_hooks.api import machines
from kaito_hooks.api.reasons import Reason, records_of


class MachineReason(Reason):
    """A reason of a Machine's conditions."""

    flags: frozenset[str]

    @classmethod
    def of(cls, name: str, text: str, remedy: str = "-", *flags: str) -> Self:
        """Make the record.

        Flags: `needs_person`; `failure`: why there is no pool, said until there is one; `delay`: of these, one that
        is nobody's fault; `terminal`: after it nothing is asked for again until the Machine or what would be asked
        changes; `of_spot`: says nothing of a regular node; `costs_a_node`.
        """
        reason = cls(name, text, remedy, needs_person="needs_person" in flags)
        reason.flags = frozenset(flags)
        return reason


_reason = MachineReason.of

AWAITING_FINALIZER = _reason(
    "AwaitingFinalizer",
    "Metacontroller has not put its finalizer on the Machine yet",
    "wait; for minutes: is Metacontroller running?",
)

AWAITING_PROVIDER = _reason(
    "AwaitingProvider",
    "another call for this Machine is under way",
    "wait",
)

CHECKING_OFFER = _reason(
    "CheckingOffer",
    "size and quota of the region are being looked up",
    "wait, seconds",
)

CREATING = _reason(
    "Creating",
    "the pool is being created",
    "wait, 3 to 10 minutes",
)

CREATE_SLOW = _reason(
    "CreateSlow",
    "that has taken more than half an hour",
    "another `resource.instanceType`, or delete the Workspace",
)

POOL_MISSING = _reason(
    "PoolMissing",
    "the pool is gone and nobody here deleted it",
    "wait: when that is certain another one is created",
)

POOL_DELETING = _reason(
    "PoolDeleting",
    "someone else deletes the pool",
    "wait: another one follows",
)

POOL_FAILED = _reason(
    "PoolFailed",
    "the pool was marked as failed",
    "retrying; the message has the provider's words",
    "failure",
)

DELETING = _reason(
    "Deleting",
    "the Machine goes, and its pool with it",
    "wait; see `DeletionBlocked` among the conditions when it takes long",
)

LAUNCHED_OK = _reason(
    "Launched",
    "the pool holds its virtual machine",
)

REGISTERED_OK = _reason(
    "Registered",
    "one Node belongs to the Machine",
)

INITIALIZED_OK = _reason(
    "Initialized",
    "the Node has become ready",
)

NODE_READY = _reason(
    "NodeReady",
    "the Node is ready",
)

MACHINE_NOT_LAUNCHED = _reason(
    "MachineNotLaunched",
    "there is no virtual machine yet",
    "see the reason of `MachineLaunched`",
)

NODE_NOT_FOUND = _reason(
    "NodeNotFound",
    "the virtual machine has not joined",
    "retried after 15 minutes, three times in all; check that the virtual machine reaches the "
    "API server",
    "failure",
    "costs_a_node",
)

SETUP_FAILED = _reason(
    "NodeSetupFailed",
    "the virtual machine started and its set-up failed: no way out, the GPU's driver, a time-out",
    "the message has the cause; retried three times, then by the command in the message",
    "failure",
    "costs_a_node",
)

MULTIPLE_NODES_FOUND = _reason(
    "MultipleNodesFound",
    "the pool has more than one node",
    "scale the pool to one node",
)

NODE_NOT_READY = _reason(
    machines.NODE_NOT_READY,
    "the Node is there and not ready",
    "wait; `kubectl describe node NODE`",
)

NODE_UPDATING = _reason(
    "NodeUpdating",
    "the provider is at work on the pool or the cluster (upgrade, update, start)",
    "wait: the node comes back, and nothing is deleted meanwhile",
)

NODE_LOST = _reason(
    machines.NODE_LOST,
    "it has not been ready for ten minutes",
    "the Workspace replaces the Machine by itself",
    "needs_person",
)

STARTUP_TAINTS_EXIST = _reason(
    machines.STARTUP_TAINTS_EXIST,
    "a startup taint of the Machine is still on the Node",
    "whoever set it takes it away",
)

KNOWN_EPHEMERAL_TAINTS_EXIST = _reason(
    machines.KNOWN_EPHEMERAL_TAINTS_EXIST,
    "Kubernetes has not taken its own taint away yet",
    "wait",
)

RESOURCE_NOT_REGISTERED = _reason(
    machines.RESOURCE_NOT_REGISTERED,
    "the Node offers no GPU",
    "install the NVIDIA device plugin, or the driver",
)

INVALID_SPEC = _reason(
    "InvalidSpec",
    "the Machine is not valid",
    "the message has the field; change the Workspace",
    "needs_person",
)

NAME_CONFLICT = _reason(
    "NameConflict",
    "a pool of that name belongs to someone else",
    "delete that pool, or the Machine",
    "needs_person",
)

NO_NODES_MADE = _reason(
    machines.NO_NODES_MADE,
    "this installation makes no nodes",
    "label nodes of your own: [Nodes of your own](#nodes-of-your-own)",
    "needs_person",
    "failure",
)

SKU_NOT_AVAILABLE = _reason(
    "SkuNotAvailable",
    "the size is not available here",
    "another size: the message says which is meant",
    "needs_person",
    "failure",
    "terminal",
    "of_spot",
)

SPOT_REFUSED = _reason(
    "SpotRefused",
    "no such node is made on spot",
    "with `resource.spot: prefer` a regular node follows at once; with `require`, change it and "
    "delete the Machine, which is then made again",
    "needs_person",
    "failure",
    "terminal",
    "of_spot",
)

INVALID_REQUEST = _reason(
    "InvalidRequest",
    "the pool is not accepted as described",
    "the message has the provider's words; retried after one hour, then after two, four, six",
    "needs_person",
    "failure",
)

SETTING_REFUSED = _reason(
    "SettingRefused",
    "what a setting above put into the request is not accepted",
    "the setting that the message names; retried at once when it is changed, else as "
    "`InvalidRequest`",
    "needs_person",
    "failure",
)

CLUSTER_OUTDATED = _reason(
    "ClusterOutdated",
    "no nodes are made of the cluster's Kubernetes version any more",
    "upgrade the cluster; retried as `InvalidRequest`",
    "needs_person",
    "failure",
)

QUOTA_EXCEEDED = _reason(
    "QuotaExceeded",
    "too little quota",
    "ask for more; retried every ten to thirty minutes",
    "failure",
    "of_spot",
)

INSUFFICIENT_CAPACITY = _reason(
    "InsufficientCapacity",
    "no such machine is free",
    "retried every hour, and every two to six where none of the size is sold for the time being; "
    "another size or region",
    "failure",
    "of_spot",
)

SUBNET_FULL = _reason(
    "SubnetFull",
    "the subnet has no addresses left",
    "enlarge it or free some; retrying",
    "failure",
)

POOL_LIMIT = _reason(
    "PoolLimit",
    "the cluster has as many pools as it may have",
    "delete Workspaces that are done; retrying",
    "failure",
)

FORBIDDEN = _reason(
    "Forbidden",
    "a right is missing, or somebody's rule or lock is in the way",
    "what the message says; retried after 5 minutes, then later and later up to an hour",
    "needs_person",
    "failure",
)

THROTTLED = _reason(
    "Throttled",
    "the provider, or our own limit below the provider's, asks for fewer requests",
    "retrying",
    "failure",
    "delay",
)

BUSY = _reason(
    "AKSBusy",
    "another operation on the cluster or the pool is under way",
    "retried after half a minute, then later and later up to five",
    "failure",
    "delay",
)
"""Named after the first provider; users compare it."""

ALREADY_EXISTS = _reason(
    "AlreadyExists",
    "a pool of that name has just appeared",
    "retrying",
)

ETAG_MISMATCH = _reason(
    "EtagMismatch",
    "the pool changed between reading and deleting it",
    "retrying",
)

DELETION_FAILED = _reason(
    "DeletionFailed",
    "the deletion of the pool was accepted, and it is not being deleted",
    "retrying; for long: a lock, or pods that are not drained",
)

UNREACHABLE = _reason(
    "ProviderUnreachable",
    "no connection to the provider",
    "DNS, the egress policy, a firewall; retrying",
)

UNANSWERED = _reason(
    "ProviderUnanswered",
    "a request was sent and nobody knows what became of it",
    "retrying: the pool is read first",
)

UNREADABLE = _reason(
    "ProviderUnreadable",
    "the answer did not come from the provider",
    "a proxy on the way; retrying",
)

UNAUTHORIZED = _reason(
    "Unauthorized",
    "the provider does not accept the token",
    "the identity of the node provisioner",
)

CREDENTIAL_UNAVAILABLE = _reason(
    "CredentialUnavailable",
    "there is no token",
    "the identity of the node provisioner",
    "needs_person",
)

CONFIG_ERROR = _reason(
    "ConfigError",
    "what the settings name does not exist",
    "the settings above",
    "needs_person",
)

ALL = records_of(MachineReason, vars().values())
"""All of them, in the order of the documentation."""


def _with(flag: str) -> frozenset[str]:
    return frozenset(reason for reason in ALL if flag in reason.flags)


STALLED = _with("needs_person")
"""A person, or the Workspace hook, must do something; all others are waits."""
FAILURES, DELAYS, REFUSALS = _with("failure"), _with("delay"), _with("terminal")
OF_SPOT_ALONE = _with("of_spot")
MOST_TRIES: Mapping[str, int] = dict.fromkeys(_with("costs_a_node"), 3)
"""After so many in a row a person has to look."""
