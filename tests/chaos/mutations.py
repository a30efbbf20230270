"""The hook without one of its rules, to see that the chaos would notice (test only: no flag in the product)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from kaito_hooks.kube.objects import get_in
from kaito_hooks.machine import deletion, deletion_proof, finalize, indeterminate
from kaito_hooks.machine.actions import Observed
from kaito_hooks.machine.api import Machine
from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.machine.provider import Absent, ListedPool, Listing, Ours, PoolRef, Unknown
from kaito_hooks.providers.aks import provider as aks
from kaito_hooks.providers.aks.rate_limiter import PutRateLimiter
from kaito_hooks.providers.aks.sweep import orphans, sweep
from kaito_hooks.providers.aks.sweep.orphans import KubernetesCluster, Verdict

from tests.chaos.sweeping import NODE_GROUP, Sweeper
from tests.chaos.transport import InProcess


def create_before_the_finalizer() -> AbstractContextManager[Any]:
    """No PUT before the finalizer exists."""
    return patch.object(Machine, "has_finalizer", True)


def create_without_if_none_match() -> AbstractContextManager[Any]:
    """No PUT without `If-None-Match: *`."""
    return _without_header("if-none-match")


def delete_without_if_match() -> AbstractContextManager[Any]:
    """No DELETE without `If-Match` of the etag that was read in the same call."""
    return _without_header("if-match")


def delete_without_proof_of_ownership() -> AbstractContextManager[Any]:
    """No DELETE of a pool that does not carry the Machine's uid."""
    return patch.object(aks, "_whose", lambda ref, pool: pool.seen)


def unknown_is_absent() -> AbstractContextManager[Any]:
    """ "Unknown" is never "absent"."""
    read, list_ = aks.AksProvider._read, aks.AksProvider._list
    system = ListedPool("system", Ours("Succeeded"), is_system=True)

    def forgetful(self: Any, ref: PoolRef) -> Any:
        found = read(self, ref)
        return Absent() if isinstance(found, Unknown) else found

    def bare(self: Any) -> Any:
        found = list_(self)
        return Listing((system,)) if isinstance(found, Unknown) else found

    return patch.multiple(aks.AksProvider, _read=forgetful, _list=bare)


def absent_once_is_gone() -> AbstractContextManager[Any]:
    """The finalizer leaves only when the pool was seen absent twice, 45 seconds apart."""
    return patch.object(deletion_proof, "seconds_left", lambda observed, now: 0)


def any_list_is_believed() -> AbstractContextManager[Any]:
    """Absence takes a list of a living cluster, one that has a pool of mode System."""
    return patch.object(Listing, "is_trusted", True)


def leave_when_not_launched() -> AbstractContextManager[Any]:
    """A Machine whose pool has no node yet is not let go either (the leak of the original)."""
    rows = finalize.RULES

    def early(observed: Observed, now: Any) -> Any:
        is_launched = observed.last.is_true("MachineLaunched")
        return None if is_launched else finalize.gone(observed, now)

    return patch.object(finalize, "RULES", (early, *rows))


def another_name_for_each_try() -> AbstractContextManager[Any]:
    """At most one live pool per Machine: the name of the Machine is the name of its pool."""
    create = aks.AksProvider.create
    tries = iter(range(10**9))

    def renamed(self: Any, request: Any) -> str:
        name = f"{request.ref.name[:9]}x{next(tries) % 10}"
        return create(self, replace(request, ref=PoolRef(name, request.ref.uid)))

    return patch.object(aks.AksProvider, "create", renamed)


def believe_the_status() -> AbstractContextManager[Any]:
    """Editing the status can cause no call: the pool's name is never read from it."""

    def ref(self: Machine) -> PoolRef:
        named = get_in(self.manifest, "status", "pool", "name")
        meta = self.manifest["metadata"]
        return PoolRef(str(named or meta["name"]), meta["uid"])

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patch.object(Machine, "ref", property(ref)),
            patch.object(aks, "_whose", lambda ref, pool: pool.seen),
        ):
            yield

    return both()


def sweep_without_machines() -> AbstractContextManager[Any]:
    """A list of Machines that broke off proves nothing."""
    listed = Sweeper.cluster
    nobody = KubernetesCluster(
        frozenset({"another"}), frozenset({NODE_GROUP}), datetime(2025, 1, 1, tzinfo=UTC)
    )

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patch.object(Sweeper, "cluster", lambda self: listed(self) or nobody),
            patch.object(orphans, "GRACE", timedelta()),
        ):
            yield

    return both()


def sweep_nothing() -> AbstractContextManager[Any]:
    """Every pool without a Machine is found."""
    return patch.object(sweep, "judge", lambda seen, now: Verdict(orphans={}))


def repeat_what_was_shown() -> AbstractContextManager[Any]:
    """A Machine on its way out is never repeated as ready."""
    return patch.object(finalize, "keep", indeterminate.keep)


def delete_while_azure_is_at_work() -> AbstractContextManager[Any]:
    """No DELETE while AKS starts, upgrades or updates the pool or the cluster."""
    next_call = deletion.next_action

    def at_once(observed: Observed, now: Any) -> Any:
        pool = observed.pool
        if isinstance(pool, Ours) and pool.operation:
            observed = replace(observed, pool=replace(pool, state="Succeeded"))
        return next_call(replace(observed, operation=""), now)

    return patch.object(deletion, "next_action", at_once)


def ask_without_a_pace() -> AbstractContextManager[Any]:
    """The same trouble again is asked about less and less often, and a pool at most so often."""

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patch.object(PutRateLimiter, "take", lambda self, pool: None),
            patch.object(ProviderError, "wait_after", lambda self, tries: 10),
        ):
            yield

    return both()


def _without_header(name: str) -> AbstractContextManager[Any]:
    send = InProcess.send

    def bare(self: InProcess, request: Any, **options: Any) -> Any:
        for key in [key for key in request.headers if key.lower() == name]:
            del request.headers[key]
        return send(self, request, **options)

    return patch.object(InProcess, "send", bare)


MUTATIONS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], str]] = {
    "a PUT before the finalizer": (
        create_before_the_finalizer,
        "create for a Machine without finalizer",
    ),
    "a PUT without If-None-Match": (create_without_if_none_match, "unguarded create"),
    "a DELETE without If-Match": (delete_without_if_match, "foreign delete"),
    "a DELETE without proof of ownership": (delete_without_proof_of_ownership, "foreign delete"),
    "unknown counts as absent": (unknown_is_absent, "leaked pool"),
    "absent once counts as gone": (absent_once_is_gone, "leaked pool"),
    "any list of pools is believed": (any_list_is_believed, "leaked pool"),
    "the finalizer leaves before the node is there": (leave_when_not_launched, "leaked pool"),
    "each try has a pool of its own": (another_name_for_each_try, "double create"),
    "the sweep believes a list that broke off": (sweep_without_machines, "living pool swept"),
    "the sweep finds nothing": (sweep_nothing, "orphan not found"),
    "the status says which pool is ours": (believe_the_status, "foreign delete"),
    "a Machine on its way out is repeated as ready": (repeat_what_was_shown, "wrong Ready"),
    "a DELETE while AKS is at work": (
        delete_while_azure_is_at_work,
        "delete during an operation of AKS",
    ),
    "a retry that knows no pace": (ask_without_a_pace, "PUT above AKS' budget"),
}
"""What is switched off, and how the chaos calls what comes of it."""
