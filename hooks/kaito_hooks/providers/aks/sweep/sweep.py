"""One sweep: look at Azure first and at Kubernetes then, judge, delete what is due, remember the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import ListedPool, Listing, Ours, Pool, PoolRef, Unknown
from kaito_hooks.providers.aks.cluster import ManagedCluster
from kaito_hooks.providers.aks.sweep.orphans import KubernetesCluster, Seen, judge


class Azure(Protocol):
    """What the sweep needs of the provider."""

    def list(self) -> Listing | Unknown:
        """Read all pools now."""
        ...

    def cluster(self) -> ManagedCluster | Unknown:
        """Read the managed cluster."""
        ...

    def get(self, ref: PoolRef, fresh: bool) -> Pool:
        """Read one pool."""
        ...

    def delete(self, ref: PoolRef, etag: str) -> None:
        """Ask to delete the pool as it was read."""
        ...


class Kubernetes(Protocol):
    """What the sweep needs of the API server."""

    def cluster(self) -> KubernetesCluster | None:
        """Read Machines, Nodes and the CRD now; None unless all of them are complete."""
        ...

    def remembered(self) -> Mapping[str, datetime]:
        """The orphans of the sweep before, since when."""
        ...

    def remember(self, orphans: Mapping[str, datetime]) -> None:
        """Keep them for the next sweep."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What one sweep came to."""

    refusal: str
    orphans: int
    deleted: Sequence[str]
    failed: Sequence[str]
    """Name and error of each pool that could not be deleted."""
    waiting: Sequence[str]
    unmarked: Sequence[str]
    may_delete: bool

    @property
    def message(self) -> str:
        """One line for people."""
        if self.refusal:
            return f"Nothing was done. {self.refusal}"
        if not self.orphans and not self.unmarked:
            return "Each agent pool has its Machine."
        parts = []
        if self.deleted:
            parts.append(f"deleted {', '.join(self.deleted)}")
        if self.failed:
            parts.append(f"could not delete {'; '.join(self.failed)}")
        if self.waiting:
            what = "will be deleted after the grace" if self.may_delete else "only reported"
            parts.append(f"without a Machine, {what}: {', '.join(self.waiting)}")
        if self.unmarked:
            names = ", ".join(self.unmarked)
            parts.append(f"look like ours and lack the tag, delete them by hand: {names}")
        return "; ".join(parts)


def sweep(
    azure: Azure,
    kubernetes: Kubernetes,
    now: Callable[[], datetime],
    install: str,
    may_delete: bool,
) -> Report:
    """Look once and act; raise nothing that Azure may say."""
    listing = azure.list()  # First: a Machine that is made later is no orphan's.
    seen = Seen(listing, azure.cluster(), kubernetes.cluster(), kubernetes.remembered(), install)
    verdict = judge(seen, now())
    if verdict.orphans is None:
        return Report(verdict.refusal, 0, (), (), (), (), may_delete)
    kubernetes.remember(verdict.orphans)
    deleted: list[str] = []
    failed: list[str] = []
    for pool in verdict.due if may_delete else ():
        error = _delete(azure, pool)
        failed += [f"{pool.name} ({error})"] if error else []
        deleted += [] if error else [pool.name]
    names = sorted(key.partition("/")[0] for key in verdict.orphans)
    done = {*deleted, *(item.partition(" ")[0] for item in failed)}
    waiting = [name for name in names if name not in done]
    return Report("", len(verdict.orphans), deleted, failed, waiting, verdict.unmarked, may_delete)


def _delete(azure: Azure, pool: ListedPool) -> str:
    """Delete it as it is now, if it is still whose it was; return why it could not be."""
    ref = PoolRef(pool.name, pool.uids[0])
    found = azure.get(ref, fresh=True)
    if not isinstance(found, Ours):
        return "it has changed since it was listed"
    if found.operation:
        return f"Azure is at work on it: {found.operation}"
    try:
        azure.delete(ref, found.etag)
    except ProviderError as error:
        return error.reason
    return ""
