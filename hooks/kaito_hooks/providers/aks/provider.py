"""Agent pools of AKS behind the Provider Protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from azure.core import MatchConditions
from azure.core.pipeline.transport import HttpTransport

from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import get_in, mapping, sequence, text
from kaito_hooks.machine.catalog import Quotas, Sizes, quota_trouble
from kaito_hooks.machine.errors import (
    AlreadyExists,
    Busy,
    EtagMismatch,
    ProviderError,
    Throttled,
    Unanswered,
    Underway,
    Unreadable,
)
from kaito_hooks.machine.provider import (
    Absent,
    AzureCluster,
    Foreign,
    ListedPool,
    Listing,
    Ours,
    Pool,
    PoolRef,
    PoolRequest,
    Unknown,
)
from kaito_hooks.providers.aks import client as arm
from kaito_hooks.providers.aks import faults, pools, refusals
from kaito_hooks.providers.aks.compute import Compute
from kaito_hooks.providers.aks.pace import Pace, PutPace
from kaito_hooks.providers.aks.replies import Reply
from kaito_hooks.settings import MachineSettings

LIST_AGE = timedelta(seconds=10)
"""All Machines share one list that old: AKS allows one read a second per subscription."""


class AksProvider:
    """Implements `kaito_hooks.machine.provider.Provider`."""

    def __init__(
        self,
        settings: MachineSettings,
        now: Callable[[], datetime],
        transport: HttpTransport[Any, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._client, self._trouble = arm.build(settings, transport)
        self._pace, self._cluster_pace, self._put_pace = Pace(now), Pace(now), PutPace(now)
        self._compute = Compute(settings, self._client, now)
        self._scope = (settings.resource_group, settings.cluster_name)
        self._lock = threading.Lock()
        self._listed: tuple[datetime, Listing | Unknown] | None = None

    def trouble(self) -> str:
        """What keeps a token from being had."""
        return self._trouble()

    def sizes(self) -> Sizes | Unknown:
        """From Microsoft.Compute."""
        return self._compute.sizes()

    def quotas(self) -> Quotas | Unknown:
        """From Microsoft.Compute."""
        return self._compute.quotas()

    def cluster(self) -> AzureCluster | Unknown:
        """The managed cluster, now."""
        try:
            self._cluster_pace.take(1)
            reply = arm.ask(self._client.managed_clusters.get, *self._scope)
        except ProviderError as error:
            return Unknown(error)
        if reply.status != 200:
            return Unknown(faults.of_reply(reply, self._now()))
        if text(reply.json.get("id")).lower() != arm.cluster_path(self._settings).lower():
            return Unknown(Unreadable(detail="The answer is another cluster, or none."))
        properties = mapping(reply.json.get("properties"))
        state = text(properties.get("provisioningState"))
        if not state:
            return Unknown(Unreadable(detail="The cluster does not say its state."))
        return AzureCluster(
            state=state,
            power=text(get_in(properties, "powerState", "code")),
            node_group=text(properties.get("nodeResourceGroup")),
            has_hosted_system=get_in(properties, "hostedSystemProfile", "enabled") is True,
        )

    def operation(self) -> str | Unknown:
        """What the cluster is in the middle of."""
        found = self.cluster()
        return found if isinstance(found, Unknown) else found.operation

    def get(self, ref: PoolRef, fresh: bool) -> Pool:
        """From AKS itself, or from a list that is some seconds old."""
        return self._read(ref) if fresh else _in_list(ref, self._recent_list())

    def list(self) -> Listing | Unknown:
        """All pages, now.

        Where AKS hosts the system nodes itself, as AKS Automatic does, no pool of mode System is listed
        (MicrosoftDocs/azure-aks-docs, managed system node pools): there the cluster itself is the proof.
        """
        found = self._list()
        with self._lock:
            self._listed = (self._now(), found)
        if isinstance(found, Unknown) or found.is_trusted:
            return found
        cluster = self.cluster()
        if isinstance(cluster, Unknown):
            return cluster
        return replace(found, is_proven=cluster.has_hosted_system)

    def digest(self, request: PoolRequest) -> str:
        """Of the body that would be sent."""
        return fingerprint(pools.put_body(request, self._settings, self._settings.max_surge))

    def create(self, request: PoolRequest) -> str:
        """PUT that must not find a pool: without the condition it would change one."""
        self._put_pace.take(request.ref.name)
        self._pace.correct(-1)  # A PUT has a limit of its own, for each pool.
        body = json.dumps(
            pools.put_body(request, self._settings, self._max_surge(request))
        ).encode()
        reply = self._change(
            self._client.agent_pools.begin_create_or_update,
            request.ref.name,
            body,
            match_condition=MatchConditions.IfMissing,
        )
        if reply.is_success:
            return text(mapping(reply.json.get("properties")).get("provisioningState"))
        # AKS has wrapped a refusal in PreconditionFailed (MicrosoftDocs/azure-docs#62378).
        if reply.status == 412 and not faults.known_cause(reply):
            raise AlreadyExists()
        raise refusals.of_put(reply, self._now(), request, self._settings)

    def _max_surge(self, request: PoolRequest) -> int:
        """As the setting says where the quota, if it is known, has room for the node that is added."""
        sizes, quotas = self._compute.known()
        if not self._settings.max_surge or sizes is None or quotas is None:
            return self._settings.max_surge
        return int(quota_trouble(sizes, quotas, request.size, False, nodes=2) is None)

    def delete(self, ref: PoolRef, etag: str) -> None:
        """DELETE; pods of a Workspace need no more than the end of their Machine."""
        condition: dict[str, Any] = {}
        if etag:
            condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        before = self._listed
        reply = self._change(
            self._client.agent_pools.begin_delete,
            ref.name,
            ignore_pod_disruption_budget=True,
            **condition,
        )
        if reply.is_success or faults.says_no_pool(reply):
            self._remember(before, ref)
            return
        if reply.status == 412 and not faults.known_cause(reply):
            raise EtagMismatch()
        error = faults.of_reply(reply, self._now())
        if isinstance(error, Underway):  # Only to a PUT of the same pool is that good news.
            raise Busy(error.code, error.detail, error.retry_after, error.ids)
        raise error

    def _remember(self, before: tuple[datetime, Listing | Unknown] | None, ref: PoolRef) -> None:
        """The list as it was, with that pool on its way out: else each deletion costs everyone a list."""
        if before is None or isinstance(before[1], Unknown):
            return
        known = [
            replace(pool, seen=replace(pool.seen, state="Deleting"))
            if pool.name.lower() == ref.name.lower()
            else pool
            for pool in before[1].pools
        ]
        with self._lock:
            self._listed = self._listed or (before[0], Listing(tuple(known)))

    def _read(self, ref: PoolRef) -> Pool:
        try:
            self._pace.take(2)
            reply = arm.ask(self._client.agent_pools.get, *self._scope, ref.name)
        except ProviderError as error:
            return Unknown(error)
        if faults.says_no_pool(reply):
            return Absent()
        if reply.status != 200:
            return Unknown(faults.of_reply(reply, self._now()))
        pool = pools.read_listed(reply.json)
        if pool is None or pool.name.lower() != ref.name.lower():
            return Unknown(Unreadable(detail="The answer is no agent pool."))
        return _whose(ref, pool)

    def _recent_list(self) -> Listing | Unknown:
        with self._lock:  # One list at a time; the others wait for it and use it.
            now = self._now()
            if self._listed is None or not timedelta(0) <= now - self._listed[0] < LIST_AGE:
                try:
                    self._pace.take(1)
                    self._listed = (now, self._list())
                except Throttled as error:
                    return Unknown(error)
            return self._listed[1]

    def _list(self) -> Listing | Unknown:
        try:
            replies = arm.ask_pages(self._client, arm.pools_path(self._settings))
        except ProviderError as error:
            return Unknown(error)
        self._pace.correct(len(replies) - 1)
        found: list[ListedPool] = []
        for reply in replies:
            if reply.status != 200:
                return Unknown(faults.of_reply(reply, self._now()))
            for item in sequence(reply.json.get("value", [None])):
                pool = pools.read_listed(mapping(item))
                if pool is None:
                    return Unknown(Unreadable(detail="The list of agent pools can't be read."))
                found.append(pool)
        return Listing(tuple(found))

    def _change(self, operation: Callable[..., Any], *args: Any, **options: Any) -> Reply:
        """One request that changes something; the list is old from then on."""
        try:
            reply = arm.ask(
                operation,
                *self._scope,
                *args,
                polling=False,
                read_timeout=arm.CHANGE_SECONDS,
                **options,
            )
        except Unreadable as error:
            raise Unanswered(error.code, error.detail) from None
        finally:
            with self._lock:
                self._listed = None
        return reply


def _in_list(ref: PoolRef, listing: Listing | Unknown) -> Pool:
    if isinstance(listing, Unknown):
        return listing
    pool = listing.find(ref.name)
    return Absent() if pool is None else _whose(ref, pool)


def _whose(ref: PoolRef, pool: ListedPool) -> Ours | Foreign:
    return pool.seen if ref.uid and ref.uid in pool.uids else Foreign()
