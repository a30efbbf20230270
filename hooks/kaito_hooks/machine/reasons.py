"""Types and reasons of a Machine's conditions; programs compare them, so each has one meaning."""

from __future__ import annotations

LAUNCHED = "MachineLaunched"
"""The pool was made and holds a virtual machine (Karpenter's)."""
REGISTERED = "MachineRegistered"
"""Exactly one Node joined (Karpenter's)."""
INITIALIZED = "MachineInitialized"
"""The Node was ready with its GPUs (Karpenter's)."""
READY = "Ready"
"""The Node is ready now."""
PROVIDER_TROUBLE = "ProviderTrouble"
"""Only while True: the provider can't be used; the other conditions are the last known."""
DEGRADED = "Degraded"
"""Only while True: the Node works although its pool is marked as failed."""
DELETION_BLOCKED = "DeletionBlocked"
"""Only while True: the pool can't be deleted for minutes now."""
NODE_UNHEALTHY = "NodeUnhealthy"
"""Only while True: the Node that was ready is not, and no operation of Azure's explains it."""

LIFECYCLE = (LAUNCHED, REGISTERED, INITIALIZED)
PASSING = (PROVIDER_TROUBLE, DEGRADED, DELETION_BLOCKED, NODE_UNHEALTHY)
"""Conditions that are there only while True."""

LAUNCHED_OK = "Launched"
"""The pool holds its virtual machine."""
REGISTERED_OK = "Registered"
"""One Node belongs to the Machine."""
INITIALIZED_OK = "Initialized"
"""The Node has become ready."""
NODE_READY = "NodeReady"
"""The Node is ready."""

AWAITING_FINALIZER = "AwaitingFinalizer"
"""Metacontroller has not yet put its finalizer on the Machine."""
AWAITING_PROVIDER = "AwaitingProvider"
"""Nothing is known yet; another call for this Machine is under way."""
CREATING = "Creating"
"""Azure creates the pool."""
CHECKING_OFFER = "CheckingOffer"
"""The sizes and the quota of the region are being looked up."""
CREATE_SLOW = "CreateSlow"
"""Azure has been creating the pool for more than half an hour."""
POOL_MISSING = "PoolMissing"
"""The pool is gone although nobody here deleted it; it is looked for once more."""
POOL_DELETING = "PoolDeleting"
"""Someone else deletes the pool."""
POOL_FAILED = "PoolFailed"
"""Azure marked the pool as failed."""
DELETING = "Deleting"
"""The Machine is being deleted, and its pool with it."""

MACHINE_NOT_LAUNCHED = "MachineNotLaunched"
"""There is no virtual machine yet (Karpenter's)."""
NODE_NOT_FOUND = "NodeNotFound"
"""The virtual machine has not joined the cluster (Karpenter's)."""
MULTIPLE_NODES_FOUND = "MultipleNodesFound"
"""More than one Node carries the Machine's label (Karpenter's)."""
NODE_NOT_READY = "NodeNotReady"
"""The Node is there and not ready (Karpenter's)."""
NODE_UPDATING = "NodeUpdating"
"""Azure upgrades, updates or starts the Node; it comes back."""
NODE_LOST = "NodeLost"
"""The Node has not been ready for more than ten minutes after it was; replace the Machine."""
STARTUP_TAINTS_EXIST = "StartupTaintsExist"
"""A startup taint of the Machine is still on the Node (Karpenter's)."""
KNOWN_EPHEMERAL_TAINTS_EXIST = "KnownEphemeralTaintsExist"
"""A taint that Kubernetes takes away by itself is still on the Node (Karpenter's)."""
RESOURCE_NOT_REGISTERED = "ResourceNotRegistered"
"""The Node offers no GPU yet: driver or device plugin are missing (Karpenter's)."""

INVALID_SPEC = "InvalidSpec"
"""The Machine asks for what can't be; it must be replaced."""
NO_NODES_MADE = "NoNodesMade"
"""This installation makes no nodes; its users bring their own."""
NAME_CONFLICT = "NameConflict"
"""A pool of that name belongs to someone else; it is never touched."""
SKU_NOT_AVAILABLE = "SkuNotAvailable"
"""The size is not offered to the subscription in this region."""
SPOT_REFUSED = "SpotRefused"
"""Azure makes no such node on spot."""
INVALID_REQUEST = "InvalidRequest"
"""Azure refuses the pool as described."""
SETTING_REFUSED = "SettingRefused"
"""Azure refuses what a setting of the operator put into the request."""
CLUSTER_OUTDATED = "ClusterOutdated"
"""AKS makes no nodes of the cluster's Kubernetes version any more."""

QUOTA_EXCEEDED = "QuotaExceeded"
"""The subscription's vCPU quota is used up."""
INSUFFICIENT_CAPACITY = "InsufficientCapacity"
"""Azure has no such virtual machine free at the moment."""
SUBNET_FULL = "SubnetFull"
"""The subnet has no addresses left."""
POOL_LIMIT = "PoolLimit"
"""The cluster has as many pools as it may have."""
FORBIDDEN = "Forbidden"
"""A right is missing, or a policy, a lock or a disabled subscription refuses the pool."""
SETUP_FAILED = "NodeSetupFailed"
"""The virtual machine started, and its set-up as a node ended badly."""

THROTTLED = "Throttled"
"""Azure asks for fewer requests."""
BUSY = "AKSBusy"
"""Another operation on the cluster or the pool is under way."""
ALREADY_EXISTS = "AlreadyExists"
"""A pool of that name appeared since it was looked for."""
ETAG_MISMATCH = "EtagMismatch"
"""The pool changed between reading and deleting it."""

DELETION_FAILED = "DeletionFailed"
"""A deletion was accepted, and the pool is not being deleted."""

UNREACHABLE = "ProviderUnreachable"
"""No connection to Azure."""
UNANSWERED = "ProviderUnanswered"
"""A request was sent and nobody knows whether it was carried out."""
UNREADABLE = "ProviderUnreadable"
"""Something answered that does not speak like Azure."""
UNAUTHORIZED = "Unauthorized"
"""Azure does not accept the token."""
CREDENTIAL_UNAVAILABLE = "CredentialUnavailable"
"""No token can be had."""
CONFIG_ERROR = "ConfigError"
"""Subscription, resource group or cluster of the hook's settings do not exist."""

STALLED = frozenset(
    {
        INVALID_SPEC,
        NAME_CONFLICT,
        NO_NODES_MADE,
        SKU_NOT_AVAILABLE,
        SPOT_REFUSED,
        INVALID_REQUEST,
        SETTING_REFUSED,
        CLUSTER_OUTDATED,
        FORBIDDEN,
        CONFIG_ERROR,
        CREDENTIAL_UNAVAILABLE,
        NODE_LOST,
    }
)
"""A person, or the Workspace hook, must do something; all others are waits."""

FAILURES = frozenset(
    {
        SKU_NOT_AVAILABLE,
        SPOT_REFUSED,
        INVALID_REQUEST,
        SETTING_REFUSED,
        CLUSTER_OUTDATED,
        NO_NODES_MADE,
        QUOTA_EXCEEDED,
        INSUFFICIENT_CAPACITY,
        SUBNET_FULL,
        POOL_LIMIT,
        FORBIDDEN,
        POOL_FAILED,
        NODE_NOT_FOUND,
        SETUP_FAILED,
        THROTTLED,
        BUSY,
    }
)
"""Why there is no pool; said until there is one."""
DELAYS = frozenset({THROTTLED, BUSY})
"""Of these, those that are nobody's fault: what failed before them is still the reason."""
REFUSALS = frozenset({SKU_NOT_AVAILABLE, SPOT_REFUSED})
"""Failures after which nothing is asked for again, until the Machine or what would be asked changes."""
OF_SPOT_ALONE = frozenset({QUOTA_EXCEEDED, INSUFFICIENT_CAPACITY, SKU_NOT_AVAILABLE, SPOT_REFUSED})
"""Reasons why there is no spot node that say nothing of a regular one."""
MOST_TRIES = {NODE_NOT_FOUND: 3, SETUP_FAILED: 3}
"""Reasons that each cost a node: after so many in a row a person has to look."""
