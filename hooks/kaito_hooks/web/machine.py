"""The Machine hook: gather, decide, act, and decide again with what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

from flask import Flask

from kaito_hooks.kube.objects import Manifest, metadata, name, namespace
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine import finalize, indeterminate, sync
from kaito_hooks.machine.actions import (
    Answer,
    Call,
    Created,
    CreatePool,
    Deleted,
    DeletePool,
    ListPools,
    Observed,
    ReadOperation,
    ReadPool,
    ReadQuotas,
    ReadSizes,
    Step,
    observe,
)
from kaito_hooks.machine.api import wanted_pool
from kaito_hooks.machine.customize import customize
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Ours, Provider, Unknown
from kaito_hooks.metacontroller import SyncRequest, SyncResponse, parse_sync
from kaito_hooks.provisioner.keyed_lock import Exclusive
from kaito_hooks.settings import KarpenterSettings, MachineSettings, ProvisionerSettings
from kaito_hooks.web import create_app
from kaito_hooks.web.logs import Log, parent_of
from kaito_hooks.web.metrics import Registry

MOST_STEPS = 4
"""In one call of the hook: at most three requests to Azure, since one of the four is answered from a cache."""
OVERLAP_SECONDS = 5
SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""When a pool is made is part of its request; what is asked for is the same at each moment."""

Decide = Callable[[Observed, datetime], Step]
Keep = Callable[[Observed, datetime, int], Answer]
"""The answer to a call while another one for the same Machine is under way."""
Tell = Callable[[str, Manifest, ProviderError], None]
"""The call, the Machine, and what the provider answered."""


def create_machine_app(
    provider: Provider | None = None,
    now: Callable[[], datetime] | None = None,
    *,
    token: str = "",
    log_stream: TextIO | None = None,
) -> Flask:
    """The WSGI app of the Machine hook; without a provider, the one that the environment names."""
    now = now or _utc_now
    if provider is None:
        settings = ProvisionerSettings.from_environ()
        provider, token = provider_of(settings.provider, now), settings.hook_token
    registry, log = Registry(), Log(log_stream)

    def tell(call: str, parent: Manifest, error: ProviderError) -> None:
        log.trouble(call, error.code, error.detail, error.ids, parent_of({"parent": parent}))

    calls = MachineCalls(provider, now, registry, tell)
    return create_app(
        {
            "/machine/sync": calls.sync,
            "/machine/finalize": calls.finalize,
            "/machine/customize": customize,
        },
        ready=provider.trouble,
        token=token,
        registry=registry,
        log_stream=log_stream,
    )


def provider_of(name: str, now: Callable[[], datetime]) -> Provider:
    """Load that provider and no other: each brings a client of tens of megabytes."""
    if name == "karpenter":
        from kaito_hooks.providers.karpenter.provider import KarpenterProvider

        return KarpenterProvider(KarpenterSettings.from_environ(), now)
    if name == "byo":
        from kaito_hooks.providers.byo import ByoProvider

        return ByoProvider()
    from kaito_hooks.providers.aks.provider import AksProvider

    return AksProvider(MachineSettings.from_environ(), now)


class MachineCalls:
    """The three hooks as functions from body to answer."""

    def __init__(
        self,
        provider: Provider,
        now: Callable[[], datetime],
        registry: Registry,
        tell: Tell = lambda call, parent, error: None,
    ) -> None:
        """`tell` hears of each error of the provider."""
        self._provider = provider
        self._now = now
        self._registry = registry
        self._tell = tell
        self._exclusive = Exclusive()

    def sync(self, body: object) -> Manifest:
        """What becomes of a Machine that should exist."""
        answer = self._answer(parse_sync(body), sync.decide, indeterminate.keep)
        return SyncResponse(answer.status, (), answer.resync_seconds).to_json()

    def finalize(self, body: object) -> Manifest:
        """What becomes of a Machine that is being deleted."""
        request = parse_sync(body)
        answer = self._answer(request, finalize.decide, finalize.keep)
        self._measure(request.parent, answer.finalized)
        return SyncResponse(
            answer.status, (), answer.resync_seconds, finalized=answer.finalized
        ).to_json()

    def _answer(self, request: SyncRequest, decide: Decide, keep: Keep) -> Answer:
        observed, now = self._observe(request), self._now()
        with self._exclusive.hold(observed.machine.ref.uid) as is_ours:
            if not is_ours:
                return keep(observed, now, OVERLAP_SECONDS)
            return self._run(observed, decide, now)

    def _observe(self, request: SyncRequest) -> Observed:
        observed = observe(request)
        if observed.machine.flaw is not None:
            return observed
        wanted = wanted_pool(observed.machine, SOME_MOMENT)
        return replace(observed, digest=self._provider.digest(wanted))

    def _run(self, observed: Observed, decide: Decide, now: datetime) -> Answer:
        for _ in range(MOST_STEPS + 1):
            step = decide(observed, now)
            if isinstance(step, Answer):
                return step
            observed = self._act(observed, step)
            self._count(step, observed)
        raise RuntimeError(f"more than {MOST_STEPS} calls were asked for")

    def _act(self, observed: Observed, step: Call) -> Observed:
        ref = observed.machine.ref
        try:
            match step:
                case ReadPool(fresh):
                    pool = self._provider.get(ref, fresh)
                    return replace(observed, pool=pool, is_fresh=fresh)
                case ListPools():
                    return replace(observed, listing=self._provider.list())
                case ReadSizes():
                    return replace(observed, sizes=self._provider.sizes())
                case ReadQuotas():
                    return replace(observed, quotas=self._provider.quotas())
                case ReadOperation():
                    return replace(observed, operation=self._provider.operation())
                case CreatePool(request):
                    return replace(observed, outcome=Created(self._provider.create(request)))
                case DeletePool(etag):
                    self._provider.delete(ref, etag)
                    return replace(observed, outcome=Deleted())
        except ProviderError as error:
            return replace(observed, outcome=error)

    def _count(self, step: Call, then: Observed) -> None:
        """Each call to the provider, by what came of it."""
        match step:
            case ReadPool():
                came: object = then.pool
            case ListPools():
                came = then.listing
            case ReadSizes():
                came = then.sizes
            case ReadQuotas():
                came = then.quotas
            case ReadOperation():
                came = then.operation if isinstance(then.operation, Unknown) else then
            case _:
                came = then.outcome
        error = came.error if isinstance(came, Unknown | Ours) else came
        if isinstance(error, ProviderError) and error.ids:
            self._tell(type(step).__name__, then.machine.manifest, error)
        error = came if isinstance(came, Ours) else error
        labels = {
            "call": type(step).__name__,
            "outcome": error.reason if isinstance(error, ProviderError) else type(came).__name__,
        }
        self._registry.count("kaito_provider_calls_total", "Calls to the provider.", labels)

    def _measure(self, parent: Manifest, finalized: bool) -> None:
        """How long a Machine has been leaving: a long time is a node that someone pays for."""
        since = parse_timestamp(metadata(parent).get("deletionTimestamp"))
        seconds = (self._now() - since).total_seconds() if since and not finalized else None
        self._registry.set(
            "kaito_machine_finalizing_seconds",
            "Seconds since the deletion of a Machine that is still there.",
            {"namespace": namespace(parent), "name": name(parent)},
            seconds,
        )


def _utc_now() -> datetime:
    return datetime.now(UTC)
