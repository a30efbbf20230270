"""Which pools belong to nobody any more. In doubt nothing is an orphan: a deleted pool is a lost node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kaito_hooks.machine.provider import ListedPool, Listing, Unknown
from kaito_hooks.providers.aks.cluster import ManagedCluster

GRACE = timedelta(minutes=10)
"""Age of the pool, and time since it was first seen without its Machine."""
REINSTALLED = timedelta(minutes=15)
"""So long after the CRD was made, an empty list of Machines may be one that is still being restored."""
MOST_DELETIONS = 3
"""In one sweep: a mistake stays a small one."""


@dataclass(frozen=True, slots=True)
class KubernetesCluster:
    """What the API server says, read live and completely."""

    machines: frozenset[str]
    """uids"""
    node_groups: frozenset[str]
    """Resource groups that its Nodes name, in lower case."""
    crd_created: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at everything."""

    listing: Listing | Unknown
    azure: ManagedCluster | Unknown
    kubernetes: KubernetesCluster | None
    """None when any part of it could not be read."""
    before: Mapping[str, datetime]
    """Orphans of earlier sweeps, since when."""
    install: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the sweep found, and what may be done about it."""

    refusal: str = ""
    """Why nothing may be concluded; empty when something may."""
    orphans: Mapping[str, datetime] | None = None
    """Since when each has been seen; None leaves the memory as it is."""
    due: Sequence[ListedPool] = ()
    """To be deleted now."""
    unmarked: Sequence[str] = ()
    """Pools that look like ours and lack the tag of the installation: reported, never deleted."""


def judge(seen: Seen, now: datetime) -> Verdict:
    """Name the orphans, or the reason why none can be named."""
    refusal = doubt(seen, now)
    if refusal or isinstance(seen.listing, Unknown) or seen.kubernetes is None:
        return Verdict(refusal)
    machines = seen.kubernetes.machines
    lonely = [pool for pool in seen.listing.pools if pool.uids and not machines & set(pool.uids)]
    orphans = [
        pool
        for pool in lonely
        if pool.install == seen.install and not pool.seen.is_deleting and _is_old(pool, now)
    ]
    since = {_key(pool): min(seen.before.get(_key(pool), now), now) for pool in orphans}
    due = [pool for pool in orphans if now - since[_key(pool)] >= GRACE]
    return Verdict(
        orphans=since,
        due=sorted(due, key=lambda pool: since[_key(pool)])[:MOST_DELETIONS],
        unmarked=sorted(pool.name for pool in lonely if not pool.install),
    )


def doubt(seen: Seen, now: datetime) -> str:
    """Why what was seen proves nothing."""
    if isinstance(seen.listing, Unknown):
        return f"The agent pools can't be listed: {seen.listing.error.message('')}"
    if not seen.listing.is_trusted:
        return "The list of agent pools holds none of mode System: it is not whole."
    if isinstance(seen.azure, Unknown):
        return f"The managed cluster can't be read: {seen.azure.error.message('')}"
    if seen.azure.operation:
        return f"The cluster is not at rest ({seen.azure.power}, {seen.azure.state})."
    return _doubt_of_kubernetes(seen.listing, seen.azure, seen, now)


def _doubt_of_kubernetes(listing: Listing, azure: ManagedCluster, seen: Seen, now: datetime) -> str:
    kubernetes = seen.kubernetes
    if kubernetes is None:
        return "The Machines can't be listed completely."
    if azure.node_group.lower() not in kubernetes.node_groups:
        return (
            f"No Node of this cluster is in the resource group '{azure.node_group}': "
            "AZURE_CLUSTER_NAME names another cluster."
        )
    has_pools = any(pool.install == seen.install for pool in listing.pools)
    if has_pools and not kubernetes.machines and now - kubernetes.crd_created < REINSTALLED:
        return "There is no Machine, and their CRD is new: they may still be restored."
    return ""


def _is_old(pool: ListedPool, now: datetime) -> bool:
    """A pool that does not say its age has the time since it was first seen."""
    return pool.seen.created is None or now - pool.seen.created >= GRACE


def _key(pool: ListedPool) -> str:
    return f"{pool.name}/{','.join(pool.uids)}"
