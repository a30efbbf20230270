"""The conditions of a Machine: launched, registered, initialized, as Karpenter has them, and what follows from them.

`Ready` is computed and never set by hand, but for a node that was ready and is not any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kaito_hooks.kube.conditions import Condition, kstatus
from kaito_hooks.machine import condition_types as types
from kaito_hooks.machine import reasons
from kaito_hooks.machine.actions import Observed
from kaito_hooks.machine.errors import ProviderError


def not_launched(
    reason: str, message: str, unknown: bool = False, given_up: bool = False
) -> Sequence[Condition]:
    """No virtual machine yet, and why; given up where it is not retried."""
    first = Condition(types.LAUNCHED, "Unknown" if unknown else "False", reason, message)
    later = (reasons.MACHINE_NOT_LAUNCHED, "There is no virtual machine yet.")
    return _whole(
        first,
        Condition(types.REGISTERED, "False", *later),
        Condition(types.INITIALIZED, "False", *later),
        given_up=given_up,
    )


def not_registered(reason: str, message: str) -> Sequence[Condition]:
    """A virtual machine without its Node, and why."""
    return _whole(
        _launched(),
        Condition(types.REGISTERED, "False", reason, message),
        Condition(types.INITIALIZED, "False", reason, message),
    )


def not_initialized(reason: str, message: str) -> Sequence[Condition]:
    """A Node that is not usable yet, and why."""
    return _whole(
        _launched(), _registered(), Condition(types.INITIALIZED, "False", reason, message)
    )


def ready() -> Sequence[Condition]:
    """All is well."""
    return _whole(_launched(), _registered(), _initialized())


def as_reported(lifecycle: Sequence[Condition]) -> Sequence[Condition]:
    """The provider's own conditions, launched, registered and initialized."""
    launched, registered, initialized = lifecycle
    return _whole(launched, registered, initialized)


def not_ready_now(reason: str, message: str, unhealthy: bool = False) -> Sequence[Condition]:
    """A Node that was ready and is not, and why; unhealthy where nothing explains it."""
    also = Condition(types.NODE_UNHEALTHY, "True", reason, message)
    return (
        *(_launched(), _registered(), _initialized()),
        *([also] if unhealthy else []),
        *_summary(Condition(types.READY, "False", reason, message)),
    )


def as_before(observed: Observed, error: ProviderError | None = None) -> Sequence[Condition]:
    """What was last known, with the error that keeps it from being known now."""
    last = observed.last
    found = [last.condition(type_) for type_ in (*types.LIFECYCLE, types.READY)]
    kept = [item for item in found if item is not None]
    if len(kept) < len(found):
        reason: str = reasons.AWAITING_PROVIDER
        message = "The node has not been read yet."
        if error is not None:
            reason, message = error.reason, error.message(observed.machine.size)
        kept = [
            Condition(type_, "Unknown", reason, message)
            for type_ in (*types.LIFECYCLE, types.READY)
        ]
    ready = kept[-1]
    if error is None:
        extra = (*types.PASSING, "Stalled", "Reconciling")
        also = [item for type_ in extra if (item := last.condition(type_)) is not None]
        return (*kept, *also)
    message = error.message(observed.machine.size)
    unknown = Condition(types.PROVIDER_TROUBLE, "True", error.reason, message)
    unhealthy = last.condition(types.NODE_UNHEALTHY)  # Its clock goes on meanwhile.
    kept += [unhealthy] if unhealthy else []
    if ready.status == "True":
        return (*kept, unknown)
    companion = "Stalled" if error.reason in reasons.STALLED else "Reconciling"
    return (*kept, unknown, Condition(companion, "True", error.reason, message))


def _whole(
    launched: Condition, registered: Condition, initialized: Condition, given_up: bool = False
) -> Sequence[Condition]:
    """All three, and Ready computed from them."""
    lifecycle = (launched, registered, initialized)
    failing = next((each for each in lifecycle if each.status != "True"), None)
    if failing is None:
        whole = Condition(types.READY, "True", reasons.NODE_READY, "The node is ready.")
    else:
        whole = replace(failing, type=types.READY)
    return (*lifecycle, *_summary(whole, given_up))


def _summary(whole: Condition, given_up: bool = False) -> Sequence[Condition]:
    return kstatus(whole, stalled=given_up or whole.reason in reasons.STALLED)


def _launched() -> Condition:
    return Condition(
        types.LAUNCHED, "True", reasons.LAUNCHED_OK, "The virtual machine was created."
    )


def _registered() -> Condition:
    return Condition(types.REGISTERED, "True", reasons.REGISTERED_OK, "The node has joined.")


def _initialized() -> Condition:
    return Condition(
        types.INITIALIZED, "True", reasons.INITIALIZED_OK, "The node has become ready."
    )
