"""Agent pools of AKS behind the Provider Protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from azure.core import MatchConditions
from azure.core.pipeline.transport import HttpTransport

from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import get_in, mapping, sequence, text
from kaito_hooks.machine.errors import ProviderError, Throttled
from kaito_hooks.machine.provider import (
    Absent,
    Availability,
    Foreign,
    ListedPool,
    Listing,
    Ours,
    Pool,
    PoolRef,
    PoolRequest,
    Profile,
    Unknown,
)
from kaito_hooks.providers.aks import client as arm
from kaito_hooks.providers.aks import error_mapping, pools, put_errors
from kaito_hooks.providers.aks.catalog import exceeded_quota
from kaito_hooks.providers.aks.cluster import ManagedCluster
from kaito_hooks.providers.aks.compute import Compute
from kaito_hooks.providers.aks.errors import (
    FOUND_OUT,
    AlreadyExists,
    Busy,
    EtagMismatch,
    Unanswered,
    Underway,
    Unreadable,
)
from kaito_hooks.providers.aks.rate_limiter import PutRateLimiter, RateLimiter
from kaito_hooks.providers.aks.responses import Response
from kaito_hooks.providers.aks.settings import AksSettings

LIST_AGE = timedelta(seconds=10)
"""All Machines share one list that old: AKS allows one read a second per subscription."""


def create(environ: Mapping[str, str], now: Callable[[], datetime]) -> AksProvider:
    """The provider as the environment says; raise `InvalidSettings`."""
    return AksProvider(AksSettings.from_environ(environ), now)


class AksProvider:
    """Implements `kaito_hooks.machine.provider.Provider`."""

    profile = Profile("Azure", "agent pool", FOUND_OUT)

    def __init__(
        self,
        settings: AksSettings,
        now: Callable[[], datetime],
        transport: HttpTransport[Any, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._client, self._unavailable_reason = arm.build(settings, transport)
        self._limiter, self._cluster_limiter, self._put_limiter = (
            RateLimiter(now),
            RateLimiter(now),
            PutRateLimiter(now),
        )
        self._compute = Compute(settings, self._client, now)
        self._scope = (settings.resource_group, settings.cluster_name)
        self._lock = threading.Lock()
        self._listed: tuple[datetime, Listing | Unknown] | None = None

    def unavailable_reason(self) -> str:
        """Why there is no token."""
        return self._unavailable_reason()

    def availability(self, size: str, is_spot: bool) -> Availability | Unknown:
        """From Microsoft.Compute."""
        return self._compute.availability(size, is_spot)

    def cluster(self) -> ManagedCluster | Unknown:
        """The managed cluster, now."""
        try:
            self._cluster_limiter.take(1)
            response = arm.send(self._client.managed_clusters.get, *self._scope)
        except ProviderError as error:
            return Unknown(error)
        if response.status != 200:
            return Unknown(error_mapping.of_response(response, self._now()))
        if text(response.json.get("id")).lower() != arm.cluster_path(self._settings).lower():
            return Unknown(Unreadable(detail="The answer is another cluster, or none."))
        properties = mapping(response.json.get("properties"))
        state = text(properties.get("provisioningState"))
        if not state:
            return Unknown(Unreadable(detail="The cluster does not say its state."))
        return ManagedCluster(
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
        self._put_limiter.take(request.ref.name)
        self._limiter.correct(-1)  # A PUT has a limit of its own, for each pool.
        body = json.dumps(
            pools.put_body(request, self._settings, self._max_surge(request))
        ).encode()
        response = self._change(
            self._client.agent_pools.begin_create_or_update,
            request.ref.name,
            body,
            match_condition=MatchConditions.IfMissing,
        )
        if response.is_success:
            return text(mapping(response.json.get("properties")).get("provisioningState"))
        # AKS has wrapped a refusal in PreconditionFailed (MicrosoftDocs/azure-docs#62378).
        if response.status == 412 and not error_mapping.known_cause(response):
            raise AlreadyExists()
        raise put_errors.of_put(response, self._now(), request, self._settings)

    def _max_surge(self, request: PoolRequest) -> int:
        """As the setting says where the quota, if it is known, has room for the node that is added."""
        sizes, quotas = self._compute.known()
        if not self._settings.max_surge or sizes is None or quotas is None:
            return self._settings.max_surge
        return int(exceeded_quota(sizes, quotas, request.size, False, nodes=2) is None)

    def delete(self, ref: PoolRef, etag: str) -> None:
        """DELETE; pods of a Workspace need no more than the end of their Machine."""
        condition: dict[str, Any] = {}
        if etag:
            condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        before = self._listed
        response = self._change(
            self._client.agent_pools.begin_delete,
            ref.name,
            ignore_pod_disruption_budget=True,
            **condition,
        )
        if response.is_success or error_mapping.says_no_pool(response):
            self._remember(before, ref)
            return
        if response.status == 412 and not error_mapping.known_cause(response):
            raise EtagMismatch()
        error = error_mapping.of_response(response, self._now())
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
            self._limiter.take(2)
            response = arm.send(self._client.agent_pools.get, *self._scope, ref.name)
        except ProviderError as error:
            return Unknown(error)
        if error_mapping.says_no_pool(response):
            return Absent()
        if response.status != 200:
            return Unknown(error_mapping.of_response(response, self._now()))
        pool = pools.read_listed(response.json)
        if pool is None or pool.name.lower() != ref.name.lower():
            return Unknown(Unreadable(detail="The answer is not an agent pool."))
        return _whose(ref, pool)

    def _recent_list(self) -> Listing | Unknown:
        with self._lock:  # One list at a time; the others wait for it and use it.
            now = self._now()
            if self._listed is None or not timedelta(0) <= now - self._listed[0] < LIST_AGE:
                try:
                    self._limiter.take(1)
                    self._listed = (now, self._list())
                except Throttled as error:
                    return Unknown(error)
            return self._listed[1]

    def _list(self) -> Listing | Unknown:
        try:
            responses = arm.send_pages(self._client, arm.pools_path(self._settings))
        except ProviderError as error:
            return Unknown(error)
        self._limiter.correct(len(responses) - 1)
        found: list[ListedPool] = []
        for response in responses:
            if response.status != 200:
                return Unknown(error_mapping.of_response(response, self._now()))
            for item in sequence(response.json.get("value", [None])):
                pool = pools.read_listed(mapping(item))
                if pool is None:
                    return Unknown(Unreadable(detail="The list of agent pools can't be read."))
                found.append(pool)
        return Listing(tuple(found))

    def _change(self, operation: Callable[..., Any], *args: Any, **options: Any) -> Response:
        """One request that changes something; the list is old from then on."""
        try:
            response = arm.send(
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
        return response


def _in_list(ref: PoolRef, listing: Listing | Unknown) -> Pool:
    if isinstance(listing, Unknown):
        return listing
    pool = listing.find(ref.name)
    return Absent() if pool is None else _whose(ref, pool)


def _whose(ref: PoolRef, pool: ListedPool) -> Ours | Foreign:
    return pool.seen if ref.uid and ref.uid in pool.uids else Foreign()
