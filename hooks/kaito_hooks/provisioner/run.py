"""Gather, decide, act, and decide again with what came of it; one call at a time for each Machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from kaito_hooks.kube.objects import Manifest, metadata
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine import finalize, indeterminate, sync
from kaito_hooks.machine.actions import (
    Action,
    Answer,
    CheckAvailability,
    Created,
    CreatePool,
    Decision,
    Deleted,
    DeletePool,
    ListPools,
    Observed,
    ReadOperation,
    ReadPool,
    observe,
)
from kaito_hooks.machine.api import wanted_pool
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Ours, Provider, Unknown
from kaito_hooks.machine.timing import OVERLAP_SECONDS
from kaito_hooks.metacontroller import SyncRequest, SyncResponse, parse_sync
from kaito_hooks.provisioner.keyed_lock import KeyedLock

MOST_ACTIONS = 4
"""In one call of the hook: at most three requests to the provider, since one of the four is answered from a cache."""
SOME_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""When a pool is made is part of its request; what is asked for is the same at each moment."""

Decide = Callable[[Observed, datetime], Decision]
Keep = Callable[[Observed, datetime, int], Answer]
"""The answer to a call while another one for the same Machine is under way."""


class Observer(Protocol):
    """Who is told what the provider was asked, for metrics and logs."""

    def acted(self, action: str, outcome: str) -> None:
        """Hear of each request to the provider, with its outcome in one word."""
        ...

    def failed(self, action: str, machine: Manifest, error: ProviderError) -> None:
        """Hear of an error by whose ids the provider's support finds the request."""
        ...

    def finalizing(self, machine: Manifest, seconds: float | None) -> None:
        """Hear how long a Machine has been leaving: a long time is a node that someone pays for. None: it is gone."""
        ...


class MachineHook:
    """The two calls about a Machine, as functions from body to answer."""

    def __init__(self, provider: Provider, now: Callable[[], datetime], observer: Observer) -> None:
        self._provider = provider
        self._now = now
        self._observer = observer
        self._lock = KeyedLock()

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
        with self._lock.hold(observed.machine.ref.uid) as is_ours:
            if not is_ours:
                return keep(observed, now, OVERLAP_SECONDS)
            return self._run(observed, decide, now)

    def _observe(self, request: SyncRequest) -> Observed:
        observed = observe(request, self._provider.profile)
        if observed.machine.validation_error is not None:
            return observed
        wanted = wanted_pool(observed.machine, SOME_MOMENT)
        return replace(observed, digest=self._provider.digest(wanted))

    def _run(self, observed: Observed, decide: Decide, now: datetime) -> Answer:
        for _ in range(MOST_ACTIONS + 1):
            decision = decide(observed, now)
            if isinstance(decision, Answer):
                return decision
            observed = self._act(observed, decision)
            self._tell(decision, observed)
        raise RuntimeError(f"more than {MOST_ACTIONS} actions were asked for")

    def _act(self, observed: Observed, action: Action) -> Observed:
        """The observation with what came of the action."""
        provider, ref = self._provider, observed.machine.ref
        try:
            match action:
                case ReadPool(fresh):
                    found = replace(observed, pool=provider.get(ref, fresh), is_fresh=fresh)
                case ListPools():
                    found = replace(observed, listing=provider.list())
                case CheckAvailability(size, is_spot):
                    found = replace(observed, availability=provider.availability(size, is_spot))
                case ReadOperation():
                    found = replace(observed, operation=provider.operation())
                case CreatePool(request):
                    found = replace(observed, outcome=Created(provider.create(request)))
                case DeletePool(etag):
                    provider.delete(ref, etag)
                    found = replace(observed, outcome=Deleted())
        except ProviderError as error:
            return replace(observed, outcome=error)
        return found

    def _tell(self, action: Action, then: Observed) -> None:
        name, found = type(action).__name__, _found(action, then)
        error = found.error if isinstance(found, Unknown | Ours) else found
        if isinstance(error, ProviderError) and error.ids:
            self._observer.failed(name, then.machine.manifest, error)
        # A pool that failed was read all the same.
        outcome = type(found).__name__
        if isinstance(error, ProviderError) and not isinstance(found, Ours):
            outcome = error.reason
        self._observer.acted(name, outcome)

    def _measure(self, parent: Manifest, finalized: bool) -> None:
        since = parse_timestamp(metadata(parent).get("deletionTimestamp"))
        seconds = (self._now() - since).total_seconds() if since and not finalized else None
        self._observer.finalizing(parent, seconds)


def _found(action: Action, then: Observed) -> object:
    """What came of an action."""
    match action:
        case ReadPool():
            return then.pool
        case ListPools():
            return then.listing
        case CheckAvailability():
            return then.availability
        case ReadOperation():
            return then.operation if isinstance(then.operation, Unknown) else then
    return then.outcome
