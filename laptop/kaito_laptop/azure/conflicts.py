"""Operations that are in the way of another one, and AKS' words for them."""

from __future__ import annotations

from dataclasses import dataclass

from kaito_laptop.azure.answers import Answer, Request, refused
from kaito_laptop.azure.pool import Pool
from kaito_laptop.azure.whole import WholeCluster

_VERBS = {
    "Creating": "create",
    "Deleting": "delete",
    "Updating": "update",
    "Scaling": "scale",
    "Upgrading": "upgrade",
    "UpgradingNodeImageVersion": "upgrade node image version",
    "Starting": "start",
    "Stopping": "stop",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is in the way."""

    state: str
    is_own: bool
    """Whether AKS itself has begun it: nobody's PUT or DELETE of a pool."""
    answer: Answer


def of_cluster(whole: WholeCluster, now: float) -> Conflict | None:
    """The cluster itself is stopped, or under way."""
    state = whole.state_at(now)
    if whole.is_stopped:
        # The words are those of other operations (MicrosoftDocs/SupportArticles-docs,
        # operationnotallowed.md); for a pool of a stopped cluster none are published.
        said = (
            f"managed cluster is in Provisioning State({state}) and Power State({whole.power}), "
            "agent pool operations cannot be performed"
        )
        return Conflict(state, True, _not_allowed(said))
    return Conflict(state, True, _busy(whole.name, state)) if now < whole.until else None


def of_pool(pool: Pool) -> Conflict:
    """The pool itself is under way."""
    if pool.state == "Deleting":
        # MicrosoftDocs/SupportArticles-docs, operationnotallowed.md
        said = (
            f"Unable to perform 'Creating' operation on '{pool.name}' since deletion was issued on "
            f"'{pool.name}'. The only allowed operation is deletion once deletion has started."
        )
        return Conflict(pool.state, False, _not_allowed(said))
    # Azure/gpu-provisioner#186 has met these words for a pool under creation.
    said = (
        "Operation is not allowed because there's an in progress "
        f"{_VERBS.get(pool.state, pool.state.lower())} node pool operation on the agent pool "
        f"{pool.name}. Please wait for it to finish before starting a new operation. You can also "
        "use 'az aks nodepool operation-abort' to abort the ongoing operation."
    )
    return Conflict(pool.state, pool.is_own, _not_allowed(said))


def of_other_pool(pool: Pool) -> Conflict:
    """Another pool is under way (cilium/cilium#25944): waited for, and never preempted."""
    said = (
        f"Operation is not allowed: Another agentpool operation ({pool.name} - {pool.state}) is in "
        "progress, please wait for it to finish before starting a new operation. See "
        "https://aka.ms/aks-pending-operation for more details"
    )
    return Conflict(pool.state, False, _not_allowed(said))


def unmet_condition(request: Request, pool: Pool | None) -> Answer | None:
    """The answer to a condition that does not hold, or that is none (learn.microsoft.com, aks/use-etags)."""
    if_match, if_none_match = (
        request.headers.get(f"if-{kind}", "") for kind in ("match", "none-match")
    )
    if if_none_match not in ("", "*") or (if_match and if_none_match):
        return refused(400, "BadRequest", "If-None-Match may only be '*', and not beside If-Match.")
    if if_none_match and pool is not None:
        return refused(412, "PreconditionFailed", "The agent pool already exists.")
    wanted = if_match.removeprefix("W/").strip('"')
    if wanted and (pool is None or wanted not in ("*", pool.etag)):
        return refused(412, "PreconditionFailed", "The etag does not match.")
    return None


def _busy(name: str, state: str) -> Answer:
    return _not_allowed(
        f"Another operation ({name} - {state}) is in progress, please wait for it to finish before "
        "starting a new operation. See https://aka.ms/aks-pending-operation for more details"
    )


def _not_allowed(message: str) -> Answer:
    return refused(409, "OperationNotAllowed", message)
