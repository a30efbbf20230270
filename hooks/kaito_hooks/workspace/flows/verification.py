"""AdapterVerified: whether the adapter of these inputs was proven by the pod that serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kaito_contract.reasons import Reason
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    is_deleting,
    name,
    number,
    sequence,
)
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.children.inference import DIGEST_VARIABLE
from kaito_hooks.workspace.job_kinds import PULLER
from kaito_hooks.workspace.observed import Observed, is_rolled_out
from kaito_hooks.workspace.progress import Progress


def adapter_verified(
    observed: Observed, progress: Progress, wanted: Manifest | None
) -> list[Condition]:
    """The condition, where the wanted Deployment serves an adapter.

    The model server is ready only after it has held each adapter to its record, has seen it in effect and has
    generated a token with it; it ends with AdapterInvalid where one fails.
    """
    if wanted is None:
        return []
    adapter = progress.adapter
    if adapter is None:
        return [_of_previous(progress, annotations_of(wanted).get(labels.ADAPTER_DIGEST, ""))]
    shown = f"{adapter.image}@{adapter.digest}"
    served = _Served(
        f"the adapter {shown}",
        f"The pod that serves {shown} is Ready: the adapter was held to its record when it was loaded, and a token "
        "was generated with it. What was found is in `/v1/models`",
        f"The pod that serves {shown} is not Ready",
        lambda pod: pods.variable(pod, DIGEST_VARIABLE) == adapter.digest,
    )
    return [_of_served(observed, wanted, served)]


def adapters_verified(
    observed: Observed, workspace: Workspace, wanted: Manifest | None
) -> list[Condition]:
    """The condition of a Workspace with `inference.adapters`, once its Deployment is wanted."""
    if wanted is None or not workspace.adapters:
        return []
    names = ", ".join(each.name for each in workspace.adapters)
    sources = _sources(get_in(wanted, "spec", "template"))
    served = _Served(
        f"the adapters ({names})",
        f"The pod is Ready: each adapter ({names}) was held to its record when it was loaded, and a token was "
        "generated with it. What was found is in `/v1/models`",
        f"The pod that serves the adapters ({names}) is not Ready",
        lambda pod: _sources(pod) == sources,
    )
    return [_of_served(observed, wanted, served)]


@dataclass(frozen=True, slots=True)
class _Served:
    """What a Deployment serves, in words."""

    what: str
    proven: str
    waiting: str
    is_in: Callable[[Manifest], bool]
    """Whether a pod has just that."""


def _of_served(observed: Observed, wanted: Manifest, served: _Served) -> Condition:
    type_ = types.ADAPTER_VERIFIED
    if number(get_in(wanted, "spec", "replicas")) == 0:
        message = f"The model is scaled to zero: no pod serves {served.what}"
        return Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)
    if is_rolled_out(observed.child("Deployment", name(wanted)), wanted):
        return Condition(type_, "True", reasons.ADAPTER_VERIFIED, served.proven)
    if refused := _refused(observed, served):
        return Condition(type_, "False", *refused)
    return Condition(type_, "Unknown", reasons.ADAPTER_PENDING, served.waiting)


def _refused(observed: Observed, served: _Served) -> tuple[str, str] | None:
    """Reason and message of a pod that ended because what it serves is not what it should be."""
    for pod in reversed(observed.pods(labels.INFERENCE)):
        if is_deleting(pod) or not served.is_in(pod):
            continue
        for end in reversed(pods.ended(pod)):
            reason = end.ending.known_reason
            is_adapter = reason is Reason.ADAPTER_INVALID or (
                reason is Reason.DIGEST_MISMATCH and end.container == PULLER
            )
            if reason and is_adapter and end.exit_code != 0:
                return reason, end.ending.message
    return None


def _sources(pod: object) -> list[object]:
    """What the init containers bring."""
    return [get_in(each, "args") for each in sequence(get_in(pod, "spec", "initContainers"))]


def _of_previous(progress: Progress, digest: str) -> Condition:
    """What is told while the Deployment has the adapter of other inputs."""
    type_ = types.ADAPTER_VERIFIED
    if progress.job_wanted:
        message = "The inputs changed: the adapter of the new ones is not tuned yet"
        return Condition(type_, "Unknown", reasons.RETUNING, message)
    message = f"There is no adapter of these inputs; the Deployment has the previous one, {digest}"
    return Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)
